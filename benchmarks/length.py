"""The length of stories compared with the length asked for, and their repetition.

    python -m benchmarks.length [--miniature] [--starter FOLDER]

With the demo model, a real vLLM, PostgreSQL, Redis and one narrator, as `manage.py up` starts them, but without a web server: one hundred stories
of 300 to 3,000 words and five of 12,000. Words are counted by the product's counter. Repetition is the share of four-word phrases, within a
thousand words, that occur earlier in them.

The measures that end in `_starter` are of the starter model: twenty stories of 1,000 words and twenty of 3,000, how they ended, and the share of
four-word phrases in their second half that occur earlier in it. A story that is given up is one that the loop guard stopped in the end.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.report import ROOT, Measure, write
from benchmarks.site import STARTER, databases
from training.common.text import count_words
from training.evaluate.degeneration import words_of
from training.serving.vllm import ModelServer

DEMO = ROOT / "demo/model"
PREMISES = (
    "A lamplighter finds that one of his lamps burns without oil.",
    "Two sisters inherit a lighthouse and the debt that stands on it.",
    "A clerk loses his shadow at cards and goes to work without it.",
    "The doctor of a small town receives a letter from a dead patient.",
    "A captain must choose between his ship and a promise.",
    "Someone in the village has been ringing the church bell at night.",
    "An old painter is asked to paint the man who ruined him.",
    "A governess discovers that the child she teaches is two children.",
    "Three travellers share a railway carriage and one secret.",
    "A widow sells her house, and the house does not let her go.",
)


def repetition(words: list[str]) -> float:
    """Return the share of four-word phrases that occur earlier in the text."""
    phrases = list(zip(words, words[1:], words[2:], words[3:], strict=False))
    return 1 - len(set(phrases)) / len(phrases) if phrases else 0.0


@contextmanager
def servers(folder_of_model: Path) -> Iterator[ModelServer]:
    """Start PostgreSQL, Redis and vLLM, and put their addresses into the environment."""
    name = str(folder_of_model.relative_to(ROOT) if folder_of_model.is_relative_to(ROOT) else folder_of_model)
    model = ModelServer(str(folder_of_model), name)
    with databases() as folder, (folder / "model.log").open("wb") as log:
        model.prepare()
        model.start(stdout=log)
        try:
            model.wait_ready()
            os.environ |= {
                "MODEL": name, "MODEL_SERVER_URL": model.url, "MODEL_SERVER_KEY": model.key, "VAR": str(folder / "var"), "DEBUG": "1",
                "STREAMS": "32", "DJANGO_SETTINGS_MODULE": "webapp.settings",
            }  # fmt: skip
            yield model
        finally:
            model.stop()


def write_stories(targets: list[int]) -> list[dict[str, Any]]:
    """Generate stories of these lengths. Returns the outcome of each."""
    import django

    django.setup()
    from django.core.management import call_command

    from writer.accounts.models import User
    from writer.stories.models import Chunk, Generation
    from writer.stories.operations.create_story import create_story
    from writer.stories.operations.models import ensure_model_version
    from writer.stories.operations.start_generation import start_generation

    call_command("migrate", verbosity=0)
    ensure_model_version()
    generations = []
    for index, target in enumerate(targets):
        user = User.objects.create(email=f"writer{index}@example.org")
        premise = PREMISES[index % len(PREMISES)]
        story = create_story(owner=user, title=f"Story {index + 1}", premise=premise, target_words=target)
        generations.append(start_generation(user=user, story_id=story.pk).pk)
    narrator = subprocess.Popen([sys.executable, "manage.py", "narrate"], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        began, printed = time.monotonic(), 0.0
        while left := Generation.objects.filter(state__in=("queued", "running")).count():
            if time.monotonic() - printed > 30:
                printed = time.monotonic()
                print(f"{printed - began:5.0f} s: {left} of {len(targets)} stories are not finished", flush=True)
            time.sleep(1)
            if narrator.poll() is not None:
                raise SystemExit("The narrator ended.")
    finally:
        narrator.terminate()
        narrator.wait(20)
    outcomes = []
    for generation in Generation.objects.filter(pk__in=generations):
        chunks = Chunk.objects.filter(generation=generation, channel="story").order_by("seq")
        text = "".join(chunks.values_list("text", flat=True))
        outcomes.append(
            {"target": generation.target_words, "words": count_words(text), "state": generation.state,
             "ending": generation.ending, "notice": generation.notice, "text": text}
        )  # fmt: skip
    return outcomes


def stories_of(model: Path, targets: list[int]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Generate stories of these lengths by a model. Returns the outcome of each, and the settings for the result."""
    with servers(model) as server:
        began = time.monotonic()
        outcomes = write_stories(targets)
        command = server.reported_command().replace(str(model), model.name)
        return outcomes, {"stories": len(targets), "model server": command, "seconds": round(time.monotonic() - began)}


def in_process(model: Path, targets: list[int]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """`stories_of` in a process of its own, because Django has one site in a process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(stories_of, model, targets).result()


def starter_measures(outcomes: list[dict[str, Any]], targets: tuple[int, ...], missing: str = "") -> list[Measure]:
    """Return the measures of the starter model; without values if there are no stories, for the reason `missing`."""
    found = []
    for target in targets:
        those = [outcome for outcome in outcomes if outcome["target"] == target]
        halves = [words[len(words) // 2 :] for words in (words_of(outcome["text"]) for outcome in those)]
        for name, better, values in (
            ("ended_by_itself", "higher", [outcome["ending"] == "ended" for outcome in those]),
            ("landed", "lower", [outcome["ending"] == "landed" for outcome in those]),
            ("given_up", "lower", [outcome["state"] == "failed" for outcome in those]),
            ("late_repetition", "lower", [repetition(half) for half in halves]),
        ):
            value = round(statistics.mean(values), 4) if values else None
            note = missing or f"mean of {len(those)} stories of {target} words"
            found.append(Measure(f"{name}_{target}_starter", value, "share", better, note=note))  # type: ignore[arg-type]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--miniature", action="store_true", help="20 stories of 300 to 1,000 words and one of 4,000")
    parser.add_argument("--texts", type=Path, help="a folder to write the stories to")
    parser.add_argument("--starter", type=Path, default=STARTER, help="the folder of the starter model")
    options = parser.parse_args()
    count, longest, many, long = (20, 1000, 1, 4000) if options.miniature else (100, 3000, 5, 12_000)
    targets = [round(300 + (longest - 300) * index / (count - 1)) for index in range(count)]
    outcomes, settings = in_process(DEMO, [long] * many + targets)
    lengths, each = ((1000,), 4) if options.miniature else ((1000, 3000), 20)
    told: list[dict[str, Any]] = []
    missing = "" if options.starter.is_dir() else "the starter model is not there: `make run` fetches it"
    if not missing:
        told, settings["starter"] = in_process(options.starter.resolve(), [one for one in lengths for _ in range(each)])
    if options.texts:
        options.texts.mkdir(parents=True, exist_ok=True)
        for index, outcome in enumerate(outcomes):
            (options.texts / f"{outcome['target']:05}-{index:03}-{outcome['ending']}.txt").write_text(outcome["text"])
    short = [outcome for outcome in outcomes if outcome["target"] != long]
    far = [outcome for outcome in outcomes if outcome["target"] == long]
    for outcome in sorted(outcomes, key=lambda outcome: -abs(outcome["words"] / outcome["target"] - 1))[:8]:
        print(outcome["target"], outcome["words"], outcome["state"], outcome["ending"], outcome["notice"])

    def share(good: list[bool]) -> float:
        return round(sum(good) / len(good), 4)

    endings = {ending: sum(o["ending"] == ending for o in outcomes) for ending in ("ended", "landed", "cut", "")}
    errors = [abs(outcome["words"] / outcome["target"] - 1) for outcome in far]
    words = [words_of(outcome["text"]) for outcome in far]
    first, last = (statistics.mean(repetition(part) for part in parts) for parts in
                   ([w[:1000] for w in words], [w[-1000:] for w in words]))  # fmt: skip
    note = "demo model; " + ", ".join(f"{number} {ending or 'not finished'}" for ending, number in endings.items())
    name = f"{long // 1000}000"
    write(
        "length",
        [
            Measure("within_10_percent", share([abs(o["words"] / o["target"] - 1) <= 0.1 and o["state"] == "done" for o in short]),
                    "share", "higher", note=f"{len(short)} stories of 300 to {longest} words"),
            Measure("cut_share", share([o["ending"] == "cut" or o["state"] != "done" for o in outcomes]), "share", "lower", note=note),
            Measure(f"error_at_{name}_words", round(max(errors), 4), "share", "lower",
                    note=f"the worst of {many}; mean {statistics.mean(errors):.4f}"),
            Measure("late_repetition_ratio", round(last / first, 3) if first else None, "ratio", "lower",
                    note=f"last thousand words {last:.4f}, first {first:.4f}, mean of {many} stories of {long} words"),
            *starter_measures(told, lengths, missing),
        ],
        settings,
        miniature=options.miniature,
    )  # fmt: skip


if __name__ == "__main__":
    main()
