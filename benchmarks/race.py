"""Steps of ours and of TRL's trainers in turns, on the same tokens: the races of `benchmarks.training`."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from benchmarks import trl_peer
from benchmarks.report import Measure, median_interval
from benchmarks.trl_peer import Recipe
from training.common.records import Sample
from training.config.learner import LearnerSettings
from training.datasets.encoding import Pairs
from training.learner.batches import Example
from training.learner.engine import Learner
from training.learner.models import prepare
from training.recipes.dpo import DpoSettings
from training.recipes.dpo.loop import dpo_pair_loss, reference_sums
from training.recipes.pairs import learn_pairs
from training.recipes.reward_model import RewardModelSettings
from training.recipes.reward_model.loop import reward_pair_loss
from training.recipes.sft.loop import learn

TOKENS_PER_WORD, PROMPT = 1.35, 64
THREADS = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Plan:
    """The number of texts of a step, the words of the longest, and the number of timed pairs of steps, for one shape."""

    texts: int
    words: int
    rounds: int


def lengths(plan: Plan, *, mixed: bool) -> list[int]:
    """Return the tokens of each text: evenly distributed from 200 words to the longest and shuffled, or all of the mean length."""
    words = np.linspace(200, plan.words, plan.texts) if mixed else np.full(plan.texts, (200 + plan.words) / 2)
    np.random.default_rng(1).shuffle(words)
    return [int(count * TOKENS_PER_WORD) for count in words]


def texts_of(recipe: Recipe, plan: Plan, vocabulary: int, *, mixed: bool) -> list[Example]:
    """Return examples of random tokens. Both texts of a pair have the same prompt."""
    rng = np.random.default_rng(2)
    per_example = 1 if recipe == "sft" else 2
    sizes = lengths(plan, mixed=mixed)
    made: list[Example] = []
    for first in range(0, len(sizes), per_example):
        prompt = rng.integers(3, vocabulary, PROMPT)
        texts = [
            np.concatenate([prompt, rng.integers(3, vocabulary, size)]) for size in sizes[first : first + per_example]
        ]
        weights = [np.arange(len(text)) >= PROMPT for text in texts]
        made.append(tuple(Sample.from_lists(text.tolist(), weight.tolist()) for text, weight in zip(texts, weights)))
    return made


def our_step(
    recipe: Recipe, model: PreTrainedModel, examples: list[Example], settings: LearnerSettings
) -> Callable[[], None]:
    """Return a function that does a step of a recipe."""
    learner = Learner(prepare(model, settings), settings, packed=True)
    if recipe == "sft":
        conversations = [(example[0],) for example in examples]

        def step() -> None:
            learn(learner, conversations)
            learner.update(1e-6)

        return step
    pairs = Pairs([(chosen, rejected) for chosen, rejected in examples])
    pairs.labels.extend([1.0] * len(examples))
    pairs.strengths.extend([1] * len(examples))
    pairs.margins.extend([0.0] * len(examples))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        common: dict[str, Any] = {"run_dir": folder, "model": folder, "data": (folder,)}
        (folder / "config.json").write_text("{}")
        if recipe == "dpo":
            dpo = DpoSettings(**common)
            pair_loss = dpo_pair_loss(reference_sums(learner, pairs, dpo), learner, pairs, dpo)
        else:
            pair_loss = reward_pair_loss(learner, pairs, RewardModelSettings(**common))

    def pair_step() -> None:
        learn_pairs(learner, pairs, range(len(examples)), pair_loss)
        learner.update(1e-6)

    return pair_step


def race(
    recipe: Recipe,
    new_model: Callable[[bool], PreTrainedModel],
    tokenizer: PreTrainedTokenizerFast,
    plan: Plan,
    settings: LearnerSettings,
    *,
    mixed: bool,
) -> tuple[list[float], dict[str, Any]]:
    """Return TRL's seconds divided by ours for each round, and facts for the settings. `new_model` gets whether it is a reward model."""
    reward = recipe == "reward_model"
    examples = texts_of(recipe, plan, new_model(reward).config.vocab_size, mixed=mixed)

    def peer(batch: int, steps: int, between: Callable[[], None] = lambda: None) -> list[float]:
        model = new_model(reward)
        return trl_peer.steps(recipe, model, tokenizer, examples, settings, count=steps, batch=batch, between=between)

    trial: dict[int, float] = {}
    for batch in (1, 2, 4, 8):
        if len(examples) % batch == 0:
            trial[batch] = min(peer(batch, 2))
            if trial[batch] > 1.1 * min(trial.values()):
                break  # larger ones pad more, and need more memory
    best = min(trial, key=lambda batch: trial[batch])
    step = our_step(recipe, new_model(reward), examples, settings)
    ours: list[float] = []

    def our_turn() -> None:
        began = time.perf_counter()
        step()
        ours.append(time.perf_counter() - began)

    theirs = peer(best, plan.rounds + 1, our_turn)[1:]  # without the first, which is for warming up
    del ours[0]
    tokens = sum(len(sample) for example in examples for sample in example)
    facts = {
        "trl_batch": best,
        "trl_seconds_by_batch": {str(batch): round(value, 3) for batch, value in trial.items()},
        "tokens_of_a_step": tokens,
        "our_tokens_per_second": round(tokens / statistics.median(ours)),
        "trl_tokens_per_second": round(tokens / statistics.median(theirs)),
    }
    return [their / our for their, our in zip(theirs, ours)], facts


def ratio(name: str, ratios: list[float], facts: dict[str, Any]) -> Measure:
    """Return the median of the ratios of a race, with its interval."""
    low, middle, high = median_interval(ratios)
    note = (
        f"interval {low:.2f} to {high:.2f} of {len(ratios)} pairs; "
        f"ours {facts['our_tokens_per_second']:,}, TRL's {facts['trl_tokens_per_second']:,} tokens/s at its fastest batch, "
        f"{facts['trl_batch']}"
    )
    print(f"{name}: {middle:.2f} ({low:.2f} to {high:.2f})", flush=True)
    return Measure(name, round(middle, 2), "ratio", "higher", peer="TRL", peer_value=1.0, note=note)


@contextmanager
def peak() -> Iterator[list[float]]:
    """Measure the peak memory of the body, minus the memory before, in MiB."""
    found: list[float] = []
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the present resident size
    before = _status("VmRSS")
    yield found
    found.append(_status("VmHWM") - before)


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) / 1024
