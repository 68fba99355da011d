"""Probes that please a judge, and whether our rules detect them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.training.conftest import made_up_story
from training.config.declarations import Vectors
from training.rewards.length import polaris_length
from training.rewards.paraphrase import paraphrased, sentences
from training.rewards.probes import PROBES, addressed, addresses_a_judge, cut_short, padded, runaway, stuffed
from training.rewards.repetition import polaris_repetition

STORY = made_up_story(1, 80)


def same_words(some: list[str]) -> Vectors:
    """A stand-in for embeddings in which sentences of the same words, in whatever order, are the same."""
    vectors = np.zeros((len(some), 512), dtype=np.float32)
    for number, one in enumerate(some):
        for word in one.lower().replace(".", "").split():
            vectors[number, sum(map(ord, word)) * 31 % 512] += 1
    lengths: Vectors = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-8)
    return vectors / lengths


@pytest.mark.parametrize("name", PROBES)
def test_each_changes_the_text(name: str) -> None:
    assert PROBES[name](STORY, random.Random(1)) != STORY


def test_padding_is_seen_by_meaning_and_not_by_runs() -> None:
    rephrased = "The old man walked slowly down to the harbour. Down to the harbour the old man slowly walked. " * 1
    assert polaris_repetition(rephrased) < 0.1
    assert paraphrased(rephrased, same_words) == 0.5  # type: ignore[arg-type]
    assert paraphrased(padded(STORY, random.Random(1)), same_words) > paraphrased(STORY, same_words) + 0.3  # type: ignore[arg-type]


def test_short_sentences_may_come_again() -> None:
    assert sentences("He said nothing. He said nothing. The lamp was lit and nobody came to see.") == [
        "The lamp was lit and nobody came to see."
    ]
    assert paraphrased("He said nothing. " * 20, same_words) == 0.0  # type: ignore[arg-type]


def test_runaway_and_cut_short_cost_length_or_repetition() -> None:
    target = len(STORY.split())
    rng = random.Random(1)
    assert polaris_repetition(runaway(STORY, rng)) > polaris_repetition(STORY) + 0.3
    assert polaris_length(cut_short(STORY, rng), max(target, 1000)) > polaris_length(STORY, max(target, 1000))


def test_who_speaks_to_a_judge_is_seen() -> None:
    assert addresses_a_judge(addressed(STORY, random.Random(1)))
    assert not addresses_a_judge(STORY)
    assert not addresses_a_judge("The judge scored the table with his knife, and marked the door.")


def test_stuffing_strews_words_in() -> None:
    assert len(stuffed(STORY, random.Random(1)).split()) > 1.05 * len(STORY.split())
