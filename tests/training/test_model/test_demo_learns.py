"""The demo model learns from data what it should: held-out preferences and its own texts change, other stories do not.

The texts are from its training corpus; those of the held-out pairs are by authors that it was not trained on.
"""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3ForCausalLM

from tests.training import models
from tests.training.conftest import CORPUS, ROOT
from tests.training.recipes.runs import metric_by_step
from training.common.text import SENTENCE_END, count_words, story_request
from training.config.learner import LearnerSettings
from training.corpus.stories import read_stories
from training.datasets.encoding import ChatEncoder, ContextLimit, conversations, texts
from training.learner.engine import Learner
from training.learner.models import load_model, load_tokenizer
from training.recipes.dpo import DpoSettings
from training.recipes.dpo.loop import dpo
from training.recipes.sft import SftSettings
from training.recipes.sft.loop import Examples, held_out_loss, sft
from training.test_model.sampling import sample
from training.test_model.tokenizer import Encoder

DEMO = ROOT / "demo" / "model"
HELD_OUT = ("Sherwood Anderson", "Baroness Orczy", "E. W. Hornung")  # of demo/demo.toml
PASSAGE, SAMPLES, TOKENS = 30, 32, 50
OPENING = "Once upon a time in the north"
LEARNER: dict[str, Any] = {
    "precision": "float32", "threads": 1, "tokens_per_micro_batch": 4096, "gradient_checkpointing": False,
}  # fmt: skip

pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason=f"there is no corpus at {CORPUS}")


@dataclass(frozen=True)
class Passage:
    """Whole sentences of a story, about fifty words."""

    title: str
    text: str
    sentences: int

    @property
    def pace(self) -> float:
        """Words per sentence."""
        return count_words(self.text) / self.sentences


def sentences(text: str) -> list[str]:
    ends = [0, *(match.end() for match in SENTENCE_END.finditer(text)), len(text)]
    return [text[first:end] for first, end in pairwise(ends) if text[first:end].strip()]


@cache
def passages(held_out: bool) -> list[list[Passage]]:
    """The passages of each story, ordered by words per sentence, the fewest first."""
    found = []
    stories = [one for one in read_stories(CORPUS, "US and life+70") if (one.author in HELD_OUT) is held_out]
    random.Random(1).shuffle(stories)
    for story in stories[:200]:
        own: list[Passage] = []
        part: list[str] = []
        for sentence in sentences(story.text[:20_000]):
            part.append(sentence)
            if count_words("".join(part)) >= PASSAGE:
                own.append(Passage(story.title, "".join(part).strip(), len(part)))
                part = []
        own = [passage for passage in own if count_words(passage.text) < 2 * PASSAGE and "\n\n" not in passage.text]
        if len(own) > 1:
            found.append(sorted(own, key=lambda passage: passage.pace))
    return found


def asked(title: str) -> list[Any]:
    return list(story_request(title=title, premise="", target=PASSAGE + 5))


@cache
def written(folder: Path) -> list[str]:
    """Short texts that a model writes, with the same prompts and seed each time."""
    encoder = Encoder.load(folder)
    model = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    torch.manual_seed(7)
    prompts = [encoder.request(asked(own[0].title)) for own in passages(held_out=True)[:SAMPLES]]
    return [text for text, _ in sample(model, encoder, prompts, tokens=TOKENS, temperature=1.0)]


def loss_on(folder: Path, examples: Examples) -> float:
    """The loss in nats per token."""
    settings = LearnerSettings(**LEARNER)
    measured = held_out_loss(Learner(load_model(folder, settings), settings, packed=True), examples)
    assert measured
    return measured()["held_out_loss"]


def loss_on_stories(folder: Path, place: Path) -> float:
    """The loss on passages of held-out authors, which shows that a model has not collapsed."""
    lines = [{"text": own[len(own) // 2].text} for own in passages(held_out=True)[:40]]
    return loss_on(folder, texts([models.write_lines(place / "stories.jsonl", lines)], load_tokenizer(folder), 1024))


def pace(made: list[str]) -> list[float]:
    """Words per sentence of each text, without the last, unfinished sentence if there is another."""
    found = []
    for text in made:
        parts = sentences(text)
        whole = parts[:-1] if len(parts) > 1 else parts
        found.append(sum(map(count_words, whole)) / max(1, len(whole)))
    return found


def run_settings(place: Path, make: Any, **changes: Any) -> dict[str, Any]:
    """Settings of a run on 96 examples of `make`, with 32 held out."""
    data, held_out = (
        models.write_lines(place / f"{name}.jsonl", [make(own) for own in passages(held_out=some)[:count]])
        for name, some, count in (("data", False, 96), ("held-out", True, 32))
    )
    return {
        "run_dir": place / "run", "model": DEMO, "data": (data,), "held_out": (held_out,), "context": 1024, "batch": 8,
        "steps": 12, "evaluate_every": 12,
    } | changes  # fmt: skip


@pytest.mark.slow
def test_fine_tuning_teaches_an_opening(tmp_path: Path) -> None:
    """None of 32 sampled texts began with the opening before, and 23 did after twelve steps.

    On held-out conversations the loss fell from 4.07 to 3.62 nats per token; on stories without the opening it went from 4.64 to
    4.67, so the model unlearned nothing else.
    """

    def conversation(own: list[Passage]) -> dict[str, Any]:
        text = f"{OPENING}, {own[len(own) // 2].text}"
        return {"messages": [*asked(own[0].title), {"role": "assistant", "content": text}]}

    settings = SftSettings(**run_settings(tmp_path, conversation, learner=LEARNER | {"learning_rate": 2e-3}))
    model = sft(settings)
    assert model
    shares = [sum(text.startswith(OPENING) for text in written(folder)) / SAMPLES for folder in (DEMO, model)]
    encoder = ChatEncoder(load_tokenizer(DEMO), DEMO)
    before = loss_on(DEMO, conversations(settings.held_out, encoder, ContextLimit(1024, "refuse")))
    (after,) = metric_by_step(settings.run_dir, "held_out_loss").values()
    others = [loss_on_stories(folder, tmp_path) for folder in (DEMO, model)]
    measured = (
        f"with the opening: {shares}, held-out conversations: {before:.3f} to {after:.3f}, other stories: {others}"
    )
    print(measured)
    assert shares[0] == 0, measured
    assert shares[1] > 0.4, measured
    assert after < before - 0.4, measured
    assert others[1] < others[0] + 0.2, measured


@pytest.mark.slow
def test_preferences_teach_a_pace(tmp_path: Path) -> None:
    """The data prefers the passage with shorter sentences; after 12 steps the model preferred it in all 32 held-out pairs.

    The margin on them went from 0 to 1.88. Sampled texts had 13.8 words per sentence before (the median of 32), and 5.8 after; 8
    had fewer than nine before, and 26 after. The loss on stories with short and long sentences went from 4.64 to 4.82 nats per token.
    """

    def preference(own: list[Passage]) -> dict[str, Any]:
        chosen, rejected = ([{"role": "assistant", "content": passage.text}] for passage in (own[0], own[-1]))
        return {"prompt": asked(own[0].title), "chosen": chosen, "rejected": rejected}

    settings = DpoSettings(**run_settings(tmp_path, preference, learner=LEARNER | {"learning_rate": 4e-4}))
    model = dpo(settings)
    assert model
    (accuracy,), (margin,) = (
        metric_by_step(settings.run_dir, f"held_out_{name}").values() for name in ("accuracy", "margin")
    )
    paces = [pace(written(folder)) for folder in (DEMO, model)]
    medians = [statistics.median(some) for some in paces]
    quick = [sum(words < 9 for words in some) / SAMPLES for some in paces]
    others = [loss_on_stories(folder, tmp_path) for folder in (DEMO, model)]
    measured = (
        f"{accuracy=:.3f}, {margin=:.3f}, words per sentence: {medians}, under nine: {quick}, other stories: {others}"
    )
    print(measured)
    assert metric_by_step(settings.run_dir)[1] == pytest.approx(
        math.log(2), abs=1e-4
    )  # at first the model is its own reference
    assert accuracy > 0.8, measured
    assert margin > 0.5, measured
    assert medians[1] < 0.75 * medians[0], measured
    assert quick[1] > quick[0] + 0.2, measured
    assert others[1] < others[0] + 0.5, measured
