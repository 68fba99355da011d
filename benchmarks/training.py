"""Our recipes compared with TRL's trainers on the same tokens: speed, and memory at 16,384 tokens.

    python -m benchmarks.training [--miniature]

**Speed.** For the demo model's shape and one of 60 million parameters, steps of ours and of TRL's own training loop alternate in one process: `sft`,
`dpo` and `reward_model`, on texts of 200 to 4,000 words and on texts of equal length. TRL has its best settings (benchmarks/trl_peer.py); its
fastest batch size is measured first. Both compute in bfloat16 with float32 weights and moments: TRL by autocast, ours by bfloat16 weights and
float32 copies. Gradient checkpointing is on in both, and off in both in further measures. A ratio is the median of pairs, with its 95 % interval in
the note.

**Memory.** The peak memory of a step of `sft` on one text of 16,384 tokens, minus the memory before the model is made, in a process of its own.
`memory_vs_dense` is for log-probabilities and their gradients only, with a vocabulary of 32,000, compared with plain torch with all logits.

**GPU.** Model FLOPs utilisation on a model of Qwen3.5-9B's shape, if there is a GPU (benchmarks/mfu.py).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3ForSequenceClassification,
    logging,
)

from benchmarks import mfu, trl_peer
from benchmarks.report import ROOT, Measure, median_interval, write
from benchmarks.trl_peer import Recipe
from training.common.records import Sample
from training.config.learner import LearnerSettings
from training.datasets.encoding import Pairs
from training.learner.batches import Example
from training.learner.engine import Learner
from training.learner.models import prepare
from training.objectives.logprobs import token_logprobs
from training.recipes.dpo import DpoSettings
from training.recipes.dpo.loop import dpo_pair_loss, reference_sums
from training.recipes.pairs import learn_pairs
from training.recipes.reward_model import RewardModelSettings
from training.recipes.reward_model.loop import reward_pair_loss
from training.recipes.sft.loop import learn

RECIPES: tuple[Recipe, ...] = ("sft", "dpo", "reward_model")
SHAPES: dict[str, dict[str, Any]] = {
    "demo": {
        "vocab_size": 5120, "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "60m": {
        "vocab_size": 32_000, "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 9, "num_attention_heads": 8,
        "num_key_value_heads": 4,
    },
}  # fmt: skip
TOKENS_PER_WORD, PROMPT, LONG = 1.35, 64, 16_384
THREADS = len(os.sched_getaffinity(0))


def new_model(shape: str, *, reward: bool = False) -> PreTrainedModel:
    config = Qwen3Config(
        **SHAPES[shape], head_dim=64, max_position_embeddings=32_768, tie_word_embeddings=False, use_cache=False,
        pad_token_id=0, eos_token_id=2, num_labels=1,
    )  # fmt: skip
    torch.manual_seed(0)
    return Qwen3ForSequenceClassification(config) if reward else Qwen3ForCausalLM(config)


@dataclass(frozen=True)
class Plan:
    """The number of texts of a step, the words of the longest, and the number of timed pairs of steps, for one shape."""

    texts: int
    words: int
    rounds: int


PLANS = {"demo": Plan(8, 4000, 7), "60m": Plan(4, 4000, 6)}
MINIATURE = {"demo": Plan(2, 400, 1)}


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
    recipe: Recipe, model: PreTrainedModel, examples: list[Example], *, checkpointing: bool
) -> Callable[[], None]:
    """Return a function that does a step of a recipe."""
    settings = LearnerSettings(gradient_checkpointing=checkpointing, tokens_per_micro_batch=4096, threads=THREADS)
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
    shape: str, recipe: Recipe, tokenizer: PreTrainedTokenizerFast, plan: Plan, *, mixed: bool, checkpointing: bool
) -> tuple[list[float], dict[str, Any]]:
    """Return TRL's seconds divided by ours for each round, and facts for the settings."""
    examples = texts_of(recipe, plan, SHAPES[shape]["vocab_size"], mixed=mixed)
    reward = recipe == "reward_model"

    def peer(batch: int, steps: int, between: Callable[[], None] = lambda: None) -> list[float]:
        model = new_model(shape, reward=reward)
        return trl_peer.steps(
            recipe, model, tokenizer, examples, count=steps, batch=batch, checkpointing=checkpointing, between=between
        )

    trial = {batch: min(peer(batch, 2)) for batch in (1, 2, 4, 8) if len(examples) % batch == 0}
    best = min(trial, key=lambda batch: trial[batch])
    step = our_step(recipe, new_model(shape, reward=reward), examples, checkpointing=checkpointing)
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


def speed(shape: str, plan: Plan, tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[Measure, dict[str, Any]]]:
    races = [(recipe, mixed, True) for recipe in RECIPES for mixed in (True, False)]
    races += [("sft", True, False), ("dpo", True, False)]
    for recipe, mixed, checkpointing in races:
        ratios, facts = race(shape, recipe, tokenizer, plan, mixed=mixed, checkpointing=checkpointing)
        low, middle, high = median_interval(ratios)
        name = f"{recipe}_speedup_{shape}_{'mixed' if mixed else 'equal'}{'' if checkpointing else '_all_activations'}"
        note = (
            f"interval {low:.2f} to {high:.2f} of {len(ratios)} pairs; "
            f"ours {facts['our_tokens_per_second']:,}, TRL's {facts['trl_tokens_per_second']:,} tokens/s at its fastest batch, "
            f"{facts['trl_batch']}"
        )
        print(f"{name}: {middle:.2f} ({low:.2f} to {high:.2f})", flush=True)
        yield Measure(name, round(middle, 2), "ratio", "higher", peer="TRL", peer_value=1.0, note=note), {name: facts}


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


def step_memory(who: str, tokens: int) -> float:
    """Return the peak MiB of one step. Call it in a process of its own."""
    torch.set_num_threads(THREADS)
    rng = np.random.default_rng(3)
    sample = Sample.from_lists(
        rng.integers(3, 32_000, tokens).tolist(), [float(place >= PROMPT) for place in range(tokens)]
    )
    with peak() as found:
        if who == "ours":
            our_step("sft", new_model("60m"), [(sample,)], checkpointing=True)()
        elif who == "trl":
            tokenizer = PreTrainedTokenizerFast.from_pretrained(ROOT / "demo" / "model")
            trl_peer.steps("sft", new_model("60m"), tokenizer, [(sample,)], count=1, batch=1, checkpointing=True)
        else:
            hidden = torch.randn(tokens, 512, dtype=torch.bfloat16, requires_grad=True)
            weight = torch.randn(32_000, 512, dtype=torch.bfloat16, requires_grad=True)
            targets = torch.from_numpy(sample.tokens).long()
            if who == "chunked":
                logprobs = token_logprobs(hidden, weight, targets)
            else:
                logprobs = (hidden @ weight.T).float().log_softmax(-1).gather(1, targets[:, None])[:, 0]
            logprobs.sum().backward()
    return found[0]


def memory(tokens: int) -> Iterator[Measure]:
    taken = {}
    for who in ("ours", "trl", "chunked", "dense"):
        command = [sys.executable, "-m", "benchmarks.training", "--memory", who, "--tokens", str(tokens)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        taken[who] = json.loads(done.stdout.splitlines()[-1])
        print(f"memory of {who}: {taken[who]:,.0f} MiB", flush=True)
    yield Measure(
        "memory_vs_trl",
        round(taken["ours"] / taken["trl"], 3),
        "ratio",
        "lower",
        peer="TRL",
        peer_value=1.0,
        note=f"a step of sft on {tokens:,} tokens, 60 M parameters: {taken['ours']:,.0f} against {taken['trl']:,.0f} MiB",
    )
    yield Measure(
        "memory_vs_dense",
        round(taken["chunked"] / taken["dense"], 3),
        "ratio",
        "lower",
        peer="plain torch",
        peer_value=1.0,
        note=(
            f"log-probabilities of {tokens:,} tokens and their gradients, vocabulary 32,000: "
            f"{taken['chunked']:,.0f} against {taken['dense']:,.0f} MiB"
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--miniature", action="store_true", help="few and short steps, to see whether it runs")
    parser.add_argument("--memory", choices=["ours", "trl", "chunked", "dense"], help=argparse.SUPPRESS)
    parser.add_argument("--tokens", type=int, default=LONG, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.set_verbosity_error()
    if options.memory:
        print(json.dumps(step_memory(options.memory, options.tokens)))
        return
    torch.set_num_threads(THREADS)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(ROOT / "demo" / "model")
    plans = MINIATURE if options.miniature else PLANS
    measures: list[Measure] = []
    facts: dict[str, Any] = {}
    for shape, plan in plans.items():
        for measure, found in speed(shape, plan, tokenizer):
            measures.append(measure)
            facts |= found
    measures += memory(1024 if options.miniature else LONG)
    measures += mfu.measures()
    settings = {
        "versions": {name: version(name) for name in ("torch", "transformers", "trl")},
        "threads": THREADS,
        "plans": {shape: asdict(plan) for shape, plan in plans.items()},
        "precision": "bfloat16, float32 weights and moments in the optimizer",
        "gradient_checkpointing": "on in both (ours keeps the outputs of attention), except in measures named all_activations",
        "trl": trl_peer.steps.__doc__,
        "races": facts,
    }
    write("training", measures, settings, miniature=options.miniature)


if __name__ == "__main__":
    main()
