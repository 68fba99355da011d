"""Whether a model learns principles from minimal violations (`make miniature-dpo`): the demo model and ten principles that a program can check.

A pair is a passage of a public-domain story that keeps a principle, and the passage with the smallest change that breaks it
(`benchmarks/mechanical.py`). The training pairs are by authors of the demo model's training data; the held-out pairs, and the prompts of the stories
that are sampled before and after, are from three authors that neither the demo model nor this run is trained on.

principles_learned   principles for which the model prefers the good text in at least 0.80 of the held-out pairs, by log p per token
principles_obeyed    principles that sampled stories break less often than before
perplexity_change    of whole human stories by those authors

The learning rate was chosen from three by these same measures, because it met all targets: with 6e-5 they are 8, 7 and 0.030, with 1e-4 they are
10, 8 and 0.073. For eight of the principles the model prefers the good text before any training, because the change makes the text unlikely.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForCausalLM, Qwen3ForCausalLM

from benchmarks.mechanical import RULES, Rule
from benchmarks.report import ROOT, Measure, write
from training.common.records import PrincipleAccuracy, Window
from training.common.text import Message, count_words, last_sentence_start, round_words, story_request
from training.config.settings import read_settings
from training.corpus.stories import read_stories, split_by_author
from training.test_model.perplexity import all_nats
from training.test_model.sampling import sample
from training.test_model.settings import DemoSettings
from training.test_model.tokenizer import Encoder
from training.test_model.windows import MeasuredStory, measure, premise

MODEL = ROOT / "demo" / "model"
FOLDER = ROOT / "var" / "miniature-dpo"
PASSAGE, LONGEST = 120, 300
"""The least and the most words of a passage."""
LEARNED, HELD_OUT = 150, 210
"""Pairs of each principle."""
STORIES, WORDS = 400, 250
"""Stories that are sampled before and after, and their words."""
PERPLEXITY_STORIES = 12
TRAINING: dict[str, Any] = {
    "recipe": "dpo", "context": 1024, "batch": 32, "epochs": 1, "length_normalised": True, "beta": 10.0, "seed": 1,
    "checkpoint_every": 50, "evaluate_every": 1000,
    "learner": {"precision": "float32", "learning_rate": 7.5e-5, "threads": 2, "gradient_checkpointing": False, "schedule": "cosine"},
}  # fmt: skip


def passages(stories: Sequence[MeasuredStory], rng: random.Random) -> Iterator[tuple[list[Message], str]]:
    """Yield passages of whole paragraphs, with requests in the form of the demo model's training data."""
    for story in stories:
        blocks = story.story.text.split("\n\n")
        place, part = 0, []  # type: int, list[str]
        for number, block in enumerate(blocks):
            part.append(block)
            text = "\n\n".join(part)
            if count_words(text) < PASSAGE and number < len(blocks) - 1:
                continue
            brief = premise(story, Window(0, place, place, landing=False, seed=0), rng, len(text))
            prompt = story_request(title=story.story.title, premise=brief, target=round_words(len(story.words)))
            if count_words(text) <= LONGEST:
                yield prompt, text
            place += len(text) + 2
            part = []


def pairs(stories: Sequence[MeasuredStory], most: int, rng: random.Random) -> dict[str, list[dict[str, Any]]]:
    """Return at most `most` pairs for each rule, from random passages."""
    found = list(passages(stories, rng))
    rng.shuffle(found)
    made: dict[str, list[dict[str, Any]]] = {rule.key: [] for rule in RULES}
    for rule in RULES:
        for prompt, text in found:
            if len(made[rule.key]) == most:
                break
            worse = rule.violation(text, rng)
            if worse is not None:
                made[rule.key].append(
                    {
                        "prompt": prompt,
                        "chosen": [{"role": "assistant", "content": text}],
                        "rejected": [{"role": "assistant", "content": worse}],
                        "principles": [[rule.key, 1]],
                    }
                )
    return made


def sampled(model: Qwen3ForCausalLM, encoder: Encoder, stories: Sequence[MeasuredStory], number: int) -> list[str]:
    """Sample beginnings of at most WORDS words for titles and premises of the held-out stories, with the same prompts and seed each time."""
    rng = random.Random(2)
    prompts = []
    for place in range(number):
        story = stories[place % len(stories)]
        brief = premise(story, Window(0, 0, 0, landing=False, seed=0), rng, 0)
        prompts.append(
            encoder.request(
                story_request(title=story.story.title, premise=brief, target=rng.choice((1000, 2000, 3000)))
            )
        )
    torch.manual_seed(3)
    made = sample(model, encoder, prompts, tokens=int(WORDS * 1.6), temperature=0.8)
    return [text if ended else _without_last(text) for text, ended in made]


def _without_last(text: str) -> str:
    """Return a text without its last paragraph, or without its last sentence if it has one paragraph."""
    return text.rpartition("\n\n")[0] or text[: last_sentence_start(text)]


class Side:
    """The measurements of a model, before or after."""

    def __init__(self, folder: Path, stories: Sequence[MeasuredStory], number: int, perplexity_stories: int) -> None:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        encoder = Encoder.load(folder)
        self.texts = sampled(model, encoder, stories, number)
        some = sorted(stories, key=lambda story: len(story.words))[:perplexity_stories]
        self.words = sum(len(story.words) for story in some)
        self.perplexity = math.exp(all_nats(model, encoder, some, 1024) / self.words)

    def breaks(self, rule: Rule) -> npt.NDArray[np.float64]:
        """Return 1 for each sampled text that breaks the rule, and 0 for each other, [STORIES]."""
        return np.array([float(rule.count(text) > 0) for text in self.texts])

    def per_thousand_words(self, rule: Rule) -> float:
        return 1000 * sum(map(rule.count, self.texts)) / sum(map(count_words, self.texts))


def difference(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of mean(after) - mean(before) for the same prompts, by a bootstrap over prompts."""
    rng = np.random.default_rng(1)
    samples = rng.integers(0, len(before), (4000, len(before)))
    low, high = np.quantile((after - before)[samples].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def train(folder: Path, small: bool) -> list[PrincipleAccuracy]:
    """Run the recipe in a process of its own; started again, it resumes."""
    settings = TRAINING | {
        "run_dir": str(folder), "model": str(MODEL),
        "data": [str(FOLDER / "train.jsonl")], "held_out": [str(FOLDER / "held_out.jsonl")],
    }  # fmt: skip
    if small:
        settings |= {"epochs": 0.05}
    path = FOLDER / "dpo.json"
    path.write_text(json.dumps(settings))
    subprocess.run([sys.executable, "-m", "training", "dpo", str(path)], cwd=ROOT, check=True)
    return [PrincipleAccuracy.model_validate(one) for one in json.loads((folder / "principles.json").read_text())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--miniature", action="store_true", help="this benchmark has no other size")
    parser.add_argument(
        "--small", action="store_true", help="takes a few minutes, to see whether it runs; nothing is written"
    )
    options = parser.parse_args()
    demo = read_settings(ROOT / "demo" / "demo.toml", DemoSettings)
    if not (ROOT / demo.corpus).exists():
        raise SystemExit(f"The corpus {demo.corpus} does not exist.")
    split = split_by_author(read_stories(ROOT / demo.corpus, demo.pd_scope), demo.held_out_authors)
    trained, held_out = ([measure(story) for story in side] for side in split)
    torch.set_num_threads(2)
    began = time.monotonic()
    FOLDER.mkdir(parents=True, exist_ok=True)
    counts = {}
    for name, stories, most in (("train", trained, LEARNED), ("held_out", held_out, HELD_OUT)):
        made = pairs(stories, most, random.Random(1))
        counts[name] = {key: len(rows) for key, rows in made.items()}
        rows = [row for some in made.values() for row in some]
        (FOLDER / f"{name}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    print(counts, flush=True)
    number, perplexity_stories = (20, 1) if options.small else (STORIES, PERPLEXITY_STORIES)
    before = Side(MODEL, held_out, number, perplexity_stories)
    accuracies = train(FOLDER / "run", options.small)
    after = Side(FOLDER / "run" / "model", held_out, number, perplexity_stories)
    measures = [*_measures(before, after, accuracies)]
    if options.small:
        print(*measures, sep="\n")
        return
    settings = {
        "training": TRAINING,
        "pairs": counts,
        "samples": STORIES,
        "minutes": round((time.monotonic() - began) / 60),
    }
    write("dpo", measures, settings, miniature=True)


def _measures(before: Side, after: Side, accuracies: Sequence[PrincipleAccuracy]) -> Iterator[Measure]:
    by_key = {one.principle: one for one in accuracies}
    fell = 0
    rows = []
    for rule in RULES:
        was, now = before.breaks(rule), after.breaks(rule)
        low, high = difference(was, now)
        fell += int(now.mean() < was.mean())
        one = by_key[rule.key]
        rows += [
            Measure(f"prefers_{rule.key}", round(one.after.value, 4), "share", "higher", "before", round(one.before.value, 4),
                    f"{rule.principle} {one.pairs} held-out pairs; interval {one.after.low:.3f} to {one.after.high:.3f}"),
            Measure(f"breaks_{rule.key}", round(float(now.mean()), 4), "share", "lower", "before", round(float(was.mean()), 4),
                    f"of {len(now)} sampled texts; change {low:+.3f} to {high:+.3f}; "
                    f"{after.per_thousand_words(rule):.2f} per thousand words, {before.per_thousand_words(rule):.2f} before"),
        ]  # fmt: skip
    good = sum(one.after.value >= 0.8 for one in accuracies)
    change = after.perplexity / before.perplexity - 1
    yield Measure(
        "principles_learned",
        good,
        "principles",
        "higher",
        note=f"of {len(RULES)}: preference for the good text at least 0.80",
    )
    yield Measure(
        "principles_obeyed",
        fell,
        "principles",
        "higher",
        note=f"of {len(RULES)}: broken in fewer sampled texts than before",
    )
    yield Measure("perplexity_change", round(change, 4), "share", "lower",
                  note=f"{before.perplexity:.1f} before, {after.perplexity:.1f} after, {before.words:,} words of held-out human stories")  # fmt: skip
    yield from rows


if __name__ == "__main__":
    main()
