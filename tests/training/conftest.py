"""A corpus of a few made-up stories, and settings small enough that a run takes seconds."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.test_model.settings import DemoSettings

ROOT = Path(__file__).parents[2]
CORPUS = ROOT.parent / "shared" / "corpus" / "stories.jsonl.gz"
NAMES = ["Anna", "Boris", "Clara", "Dorian"]
WORDS = [
    "the",
    "a",
    "lamp",
    "river",
    "old",
    "house",
    "slowly",
    "walked",
    "saw",
    "night",
    "letter",
    "never",
    "small",
    "dark",
]


def made_up_story(seed: int, sentences: int = 40) -> str:
    rng = random.Random(seed)
    blocks = []
    for number in range(sentences):
        words = " ".join(rng.choices(WORDS, k=rng.randrange(8, 20)))
        name = rng.choice(NAMES)
        blocks.append(f"“Well,” said {name}, “{words}.”" if number % 3 == 0 else f"Then {name} {words}.")
    return "\n\n".join(" ".join(blocks[first : first + 3]) for first in range(0, sentences, 3))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "stories.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for number in range(12):
            story = {
                "id": f"book/{number}",
                "author": f"Author {number % 4}",
                "anthology": "A Book",
                "title": f"Story {number}",
                "pd_scope": "US" if number == 11 else "US and life+70",
                "text": made_up_story(number),
            }
            file.write(json.dumps(story) + "\n")
    return path


@pytest.fixture
def tiny(tmp_path: Path, corpus: Path) -> Callable[..., DemoSettings]:
    """A function that makes settings of a run that takes seconds; keywords change them."""

    def make(run: str = "run", **changes: Any) -> DemoSettings:
        values = {
            "run_dir": tmp_path / run,
            "corpus": corpus,
            "held_out_authors": ["Author 3"],
            "vocabulary": 400,
            "shape": {
                "hidden_size": 16,
                "layers": 1,
                "heads": 2,
                "kv_heads": 1,
                "head_size": 8,
                "feed_forward_size": 16,
                "context": 512,
            },
            "sequence_length": 384,
            "batch_rows": 2,
            "micro_rows": 1,
            "steps": 24,
            "decay_steps": 4,
            "warmup_steps": 2,
            "checkpoint_every": 5,
            "evaluate_every": 10,
            "evaluate_rows": 2,
            "threads": 1,
        }
        return DemoSettings.model_validate(values | changes)

    return make
