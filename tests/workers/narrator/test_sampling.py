"""The narrator samples as the generation's row says."""

from __future__ import annotations

import pytest

from tests.workers.narrator.test_writing import writing
from training.common.sampling import Sampling
from workers.narrator.session import sampling

PLAIN = {"top_k": 0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        (Sampling().stored(), {"temperature": 0.8, "min_p": 0.05, "top_p": 1.0}),
        (Sampling(temperature=0.0, min_p=0.2).stored(), {"temperature": 0.0, "min_p": 0.2, "top_p": 1.0}),
        ({"temperature": 0.8, "top_p": 0.95}, {"temperature": 0.8, "min_p": 0.0, "top_p": 0.95}),  # of before min_p
        ({}, {"temperature": 0.8, "min_p": 0.05, "top_p": 1.0}),
    ],
)
def test_it_asks_for_what_is_stored(stored: dict[str, float], asked: dict[str, float]) -> None:
    assert sampling(writing(600, sampling=stored)) == asked | PLAIN


def test_every_request_has_a_seed_of_its_own() -> None:
    story = writing(600, sampling=Sampling(seed=7).stored())
    seeds = set()
    for _ in range(3):
        story.begin(opens_thinking=False)
        seeds.add(sampling(story)["seed"])
    assert len(seeds) == 3
