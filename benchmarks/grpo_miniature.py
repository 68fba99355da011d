"""The papers' claims on the demo model: whether GRPO on short stories helps with longer ones, and whether a human story in each group helps.

    make miniature-grpo        about three hours on two cores; started again, it resumes

1. The demo model (7 million parameters, so none of its stories is good) is fine-tuned on pieces of 60 to 400 words of public-domain stories, with
   requests that name their lengths, so that it ends its stories: this model is "before".
2. Two reward models are trained from the demo model to distinguish a person's piece from a text that "before" wrote for the same request. The authors
   are divided between them. One is a reward; the other judges the results and is not used as a reward.
3. Five seeds of GRPO with a human story in each group and five without, from "before", with requests of up to 400 words. The rewards, averaged as in
   LongWriter-Zero, are the range of lengths, the first reward model, and repetition. The learning rate was chosen from three (3e-5, 1e-4, 3e-4) by
   the rewards of a run's first twenty steps, not by the final measures.
4. The final measures are made on stories for titles and premises of held-out authors, with requests of 100 to 1,200 words, written in one answer
   without a narrator.

Means are over seeds, with 95 % intervals by Student's t; "before" is one model, so its intervals are over its stories.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeVar

from safetensors.torch import load_file

from benchmarks.report import ROOT, Measure, median_interval, write
from training.common.events import read_events
from training.common.records import Metrics, Window
from training.common.sampling import Sampling
from training.common.text import count_words, round_words, story_request
from training.config.settings import read_settings
from training.corpus.stories import read_stories, split_by_author
from training.evaluate.degeneration import words_of
from training.evaluate.repetition import repeated
from training.evaluate.served import Client, Served
from training.recipes.grpo import GrpoSettings
from training.rollouts.client import TokenClient
from training.rollouts.server import OwnServer
from training.rollouts.sync import SharedMemory
from training.test_model.settings import DemoSettings
from training.test_model.windows import MeasuredStory, measure, premise

T = TypeVar("T")
DEMO = ROOT / "demo" / "model"
FOLDER = ROOT / "var" / "miniature-grpo"
SEEDS = range(1, 6)
LEAST, MOST = 60, 400
"""Words of a piece."""
PIECES, PAIRS, REQUESTS = 3000, 240, 24
"""Pieces for fine-tuning, pairs for each reward model, and requests for each bucket of the final measures."""
BUCKETS = ((100, 200), (200, 400), (400, 800), (800, 1200))
"""Words asked for: the first two as in training, the others longer."""
STEPS = 30
LEARNER: dict[str, Any] = {"precision": "float32", "gradient_checkpointing": False}
WARM: dict[str, Any] = {
    "recipe": "sft", "context": 1024, "overlong": "drop", "batch": 16, "epochs": 1, "evaluate_every": 1000,
    "learner": LEARNER | {"learning_rate": 3e-4, "threads": 2},
}  # fmt: skip
REWARD: dict[str, Any] = {
    "recipe": "reward_model", "context": 1024, "overlong": "drop", "batch": 16, "epochs": 2, "evaluate_every": 1000,
    "learner": LEARNER | {"learning_rate": 1e-4, "threads": 2},
}  # fmt: skip
GRPO: dict[str, Any] = {
    "context": 1024, "batch": 4, "group": 6, "steps": STEPS, "checkpoint_every": 5, "evaluate_every": 1000, "keep": 1,
    "learner": LEARNER | {"learning_rate": 1e-4, "threads": 2, "schedule": "constant", "warmup_share": 0.0},
    "rewards": {"how": "averaged", "range": {"longest": 600}, "weights": {"range": 1.0, "preference": 1.0, "repetition": -1.0}},
    "sampling": {"most_tokens": 800},
    "guards": {"length_ratio": None, "cut": None, "repetition": None, "probe": None},
}  # fmt: skip
HUMAN = {"weight": 0.4, "ramp": 15}
"""As in POLARIS."""


class Piece(NamedTuple):
    author: str
    title: str
    premise: str
    target: int
    text: str

    @property
    def request(self) -> list[Any]:
        return story_request(title=self.title, premise=self.premise, target=self.target)


def pieces(stories: Sequence[MeasuredStory], rng: random.Random) -> Iterator[Piece]:
    """Yield pieces of whole paragraphs, with lengths about uniformly distributed from LEAST to MOST."""
    for story in stories:
        part: list[str] = []
        begins, place, wanted = 0, 0, rng.randint(LEAST, MOST)
        for block in story.story.text.split("\n\n"):
            part.append(block)
            place += len(block) + 2
            text = "\n\n".join(part)
            words = count_words(text)
            if words < wanted:
                continue
            if words <= MOST:
                brief = premise(story, Window(0, begins, begins, landing=False, seed=0), rng, len(text))
                yield Piece(story.story.author, story.story.title, brief, round_words(words), text)
            part, begins, wanted = [], place, rng.randint(LEAST, MOST)


def divided(found: Sequence[Piece]) -> tuple[list[Piece], list[Piece]]:
    """Divide the authors into two halves with about equal numbers of pieces."""
    sides: tuple[list[Piece], list[Piece]] = ([], [])
    by_author = itertools.groupby(sorted(found, key=lambda one: one.author), key=lambda one: one.author)
    for some in sorted((list(some) for _, some in by_author), key=len, reverse=True):
        min(sides, key=len).extend(some)
    return sides


def requests(stories: Sequence[MeasuredStory], each: int) -> list[tuple[int, Piece]]:
    """Return requests with the numbers of their buckets: titles and premises of the held-out authors, and random lengths."""
    rng = random.Random(5)
    made = []
    for bucket, (low, high) in enumerate(BUCKETS):
        for number in range(each):
            story = stories[(bucket * each + number) % len(stories)]
            brief = premise(story, Window(0, 0, 0, landing=False, seed=0), rng, 0)
            target = round_words(rng.randint(low + 10, high))
            made.append((bucket, Piece(story.story.author, story.story.title, brief, target, "")))
    return made


def once(name: str, make: Callable[[], T]) -> T:
    """Return the stored result of `make`, which is called if there is none."""
    path = FOLDER / f"{name}.json"
    if not path.exists():
        temporary = path.with_suffix(".writing")
        temporary.write_text(json.dumps(make(), ensure_ascii=False))
        temporary.rename(path)
    result: T = json.loads(path.read_text())
    return result


def write_jsonl(name: str, rows: Sequence[dict[str, Any]]) -> str:
    path = FOLDER / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return str(path)


def run(name: str, settings: dict[str, Any], model: Path, data: str, held_out: Sequence[str] = ()) -> Path:
    """Run a recipe in a process of its own, and return the folder of its model. Started again, it resumes."""
    folder = FOLDER / name
    if not (folder / "model").is_dir():
        given = settings | {"run_dir": str(folder), "model": str(model), "data": [data], "held_out": [*held_out]}
        path = FOLDER / f"{name}-settings.json"
        path.write_text(json.dumps(given))
        print(name, flush=True)
        with (FOLDER / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", "training", settings["recipe"], str(path)]
            done = subprocess.run(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise SystemExit(f"{name} ended with {done.returncode}: see {FOLDER / f'{name}.log'}.")
    return folder / "model"


class Writer:
    """A rollout server for all runs and all stories, which loads the weights of each."""

    def __init__(self, model: Path) -> None:
        folder = FOLDER / "writer"
        folder.mkdir(exist_ok=True)
        rewards = {"weights": {"repetition": -1.0}}  # not used
        settings = GrpoSettings.model_validate(
            {"run_dir": folder, "model": model, "data": ("none",), "learner": LEARNER, "rewards": rewards}
        )
        self._server, self._sync = OwnServer(settings, 0), SharedMemory()
        self._server.begin()
        os.environ["ROLLOUT_KEY"] = self._server.key

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self._sync.close()

    @property
    def url(self) -> str:
        return self._server.url

    def stories(self, model: Path, asked: Sequence[Piece], seed: int = 0) -> list[str]:
        """Write a story for each request, in one answer, with the plain softmax."""
        self._sync.put(load_file(model / "model.safetensors"))
        return asyncio.run(self._write(asked, seed))

    async def _write(self, asked: Sequence[Piece], seed: int) -> list[str]:
        async with TokenClient(self.url, self._server.key, self._server.served_as, seconds=600) as wire:
            await self._sync.load(wire)
        async with Client(Served(self.url, self._server.served_as, self._server.key), at_once=48) as client:
            context = await client.context()
            answers = await asyncio.gather(
                *(
                    client.write(title=one.title, premise=one.premise, target=one.target, seed=seed + number, context=context, sampling=Sampling(temperature=1.0, min_p=0.0))
                    for number, one in enumerate(asked)
                )
            )  # fmt: skip
        return [one.text for one in answers]


def judged(judge: Path, asked: Sequence[Piece], texts: Sequence[str]) -> list[float]:
    import torch

    from training.config.declarations import Answer
    from training.rewards.preference_model import PreferenceModel

    torch.set_num_threads(2)
    prefer = PreferenceModel(judge, torch.device("cpu"), "float32", datetime.now(UTC))
    return [
        prefer.score(Answer(one.request, one.target, text, "", text)) for one, text in zip(asked, texts, strict=True)
    ]


def evaluate(
    name: str, writer: Writer, model: Path, judge: Path, asked: Sequence[tuple[int, Piece]]
) -> list[dict[str, float]]:
    """Return for each story its bucket, words written per word asked for, share of repeated runs of four words, and the judge's reward."""
    only = [one for _, one in asked]
    texts = once(f"{name}-stories", lambda: writer.stories(model, only))
    scores = once(f"{name}-judged", lambda: judged(judge, only, texts))
    return [
        {
            "bucket": bucket, "ratio": count_words(text) / one.target, "repetition": repeated(words_of(text), 4),
            "judge": score,
        }
        for (bucket, one), text, score in zip(asked, texts, scores, strict=True)
    ]  # fmt: skip


MEASURES: dict[str, tuple[str, Literal["higher", "lower"], str]] = {
    "length_error": ("log ratio", "lower", "mean |ln(words written / words asked for)|"),
    "length_ratio": ("ratio", "higher", "median of words written / words asked for; 1 is right"),
    "repetition": ("share", "lower", "of runs of four words that occur earlier"),
    "preferred": (
        "share",
        "higher",
        "of stories that the judge prefers to that of the model before; 0.5 means no difference",
    ),
}


def values(
    found: Sequence[dict[str, float]], before: Sequence[dict[str, float]], bucket: int
) -> dict[str, list[float]]:
    """Return the values of each measure for the stories of a bucket."""
    own, was = ([one for one in side if one["bucket"] == bucket] for side in (found, before))
    return {
        "length_error": [abs(math.log(max(one["ratio"], 1e-3))) for one in own],
        "length_ratio": [one["ratio"] for one in own],
        "repetition": [one["repetition"] for one in own],
        "preferred": [
            float(one["judge"] > other["judge"]) + 0.5 * (one["judge"] == other["judge"])
            for one, other in zip(own, was, strict=True)
        ],
    }


def average(name: str, values: Sequence[float]) -> float:
    return statistics.median(values) if name == "length_ratio" else statistics.mean(values)


_T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 24: 2.069}


def interval(values: Sequence[float]) -> str:
    half = _T95[len(values)] * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values) - half:.3f} to {statistics.mean(values) + half:.3f}"


def main(*, small: bool = False) -> None:
    """Run the benchmark. `small` takes a few minutes, to see whether it runs, and writes nothing."""
    global FOLDER
    steps, seeds, each, count, pairs = (3, range(1, 3), 3, 64, 32) if small else (STEPS, SEEDS, REQUESTS, PIECES, PAIRS)
    FOLDER = FOLDER.with_name("miniature-grpo-small") if small else FOLDER
    FOLDER.mkdir(parents=True, exist_ok=True)
    demo = read_settings(ROOT / "demo" / "demo.toml", DemoSettings)
    if not (ROOT / demo.corpus).exists():
        raise SystemExit(f"The corpus {demo.corpus} does not exist.")
    split = split_by_author(read_stories(ROOT / demo.corpus, demo.pd_scope), demo.held_out_authors)
    trained, held_out = ([measure(story) for story in side] for side in split)
    rng = random.Random(1)
    found = list(pieces(trained, rng))
    rng.shuffle(found)
    conversations = write_jsonl("conversations", [{"messages": [*one.request, {"role": "assistant", "content": one.text}], "target": one.target} for one in found[:count]])  # fmt: skip
    before = run("before", WARM, DEMO, conversations)
    with Writer(before) as writer:
        judges = []
        for name, side in zip(("reward", "judge"), divided(found[count:]), strict=True):
            some = side[: pairs + pairs // 4]  # of which a fifth is held out
            texts = once(f"{name}-before", lambda some=some: writer.stories(before, some, seed=1000))  # type: ignore[misc]
            rows = [
                {"prompt": one.request, "chosen": [{"role": "assistant", "content": one.text}], "rejected": [{"role": "assistant", "content": text}]}
                for one, text in zip(some, texts, strict=True) if text.strip()
            ]  # fmt: skip
            held_out_pairs = write_jsonl(f"{name}-held-out", rows[pairs:])
            judges.append(run(name, REWARD, DEMO, write_jsonl(f"{name}-pairs", rows[:pairs]), [held_out_pairs]))
        reward, judge = judges
        asked = requests(held_out, each)
        was = evaluate("before", writer, before, judge, asked)
        after: dict[bool, list[list[dict[str, float]]]] = {True: [], False: []}
        for seed, human in itertools.product(seeds, (True, False)):
            name = f"{'with' if human else 'without'}-{seed}"
            settings = GRPO | {
                "recipe": "grpo", "steps": steps, "seed": seed, "human": HUMAN if human else None, "rollouts": {"url": writer.url},
                "rewards": GRPO["rewards"] | {"preference": str(reward)},
            }  # fmt: skip
            after[human].append(evaluate(name, writer, run(name, settings, before, conversations), judge, asked))
    measures = [*_rewards(seeds), *_measures(was, after)]
    if small:
        print(*measures, sep="\n")
        return
    accuracies = {name: _accuracy(FOLDER / name) for name in ("reward", "judge")}
    settings = {
        "fine-tuning": WARM, "reward models": REWARD, "grpo": GRPO, "human": HUMAN, "seeds": len(seeds), "stories of a bucket": each,
        "training data of the reward models": f"{pairs} pairs each: a person's piece of {LEAST} to {MOST} words preferred to a text of the model before; by different authors",
        "their accuracy on held-out pairs": accuracies,
    }  # fmt: skip
    write("grpo", measures, settings, miniature=True)


def _measures(was: Sequence[dict[str, float]], after: dict[bool, list[list[dict[str, float]]]]) -> Iterator[Measure]:
    for bucket, (low, high) in enumerate(BUCKETS):
        before = values(was, was, bucket)
        sides = {human: [values(one, was, bucket) for one in runs] for human, runs in after.items()}
        for name, (unit, better, meaning) in MEASURES.items():
            means = {human: [average(name, one[name]) for one in runs] for human, runs in sides.items()}
            differences = [one - other for one, other in zip(means[True], means[False], strict=True)]
            if name == "length_ratio":
                least, _, most = median_interval(before[name])
                known = f"{least:.3f} to {most:.3f}"
            else:
                known = interval(before[name])
            for human, word in ((True, "with"), (False, "without")):
                yield Measure(
                    f"{name}_{low}_to_{high}_{word}_human", round(statistics.mean(means[human]), 4), unit, better,
                    "before", round(average(name, before[name]), 4),
                    f"{meaning}; interval {interval(means[human])}, before {known}"
                    + (f"; with minus without: {interval(differences)}" if human else ""),
                )  # fmt: skip


def _rewards(seeds: Sequence[int]) -> Iterator[Measure]:
    """Yield the rewards in training: in the last five steps of a run compared with its first five."""
    for reward, human in itertools.product(("range", "preference"), (True, False)):
        name, word = f"reward_{reward}", "with" if human else "without"
        runs = [[one[name] for one in _metrics(FOLDER / f"{word}-{seed}", name)] for seed in seeds]
        first, last = ([statistics.mean(run[part]) for run in runs] for part in (slice(5), slice(-5, None)))
        rise = [after - before for before, after in zip(first, last, strict=True)]
        yield Measure(
            f"{name}_{word}_human", round(statistics.mean(last), 4), "reward", "higher", "before", round(statistics.mean(first), 4),
            f"in training, mean of the last five steps; before: of the first five; rise {interval(rise)}",
        )  # fmt: skip


def _accuracy(folder: Path) -> float | None:
    """Return the final accuracy on held-out pairs."""
    found = _metrics(folder, "held_out_accuracy")
    return round(found[-1]["held_out_accuracy"], 3) if found else None


def _metrics(folder: Path, name: str) -> list[dict[str, float]]:
    """Return the metrics of all steps that have the one named `name`; of a step that was repeated, the later ones."""
    events = read_events(folder / "events.jsonl")
    found = {one.step: one.values for one in events if isinstance(one, Metrics) and name in one.values}
    return [found[step] for step in sorted(found)]
