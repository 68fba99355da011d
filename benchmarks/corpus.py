"""The import of the whole corpus: the JSON Lines of both languages and the eight EPUBs.

    python -m benchmarks.corpus [--miniature] [--times 5]

The time is that of the whole import in two processes, including their start: reading, cleaning, rules, the learned filter, duplicates, the split
and writing. The stories of the EPUBs are in the JSON Lines too, so they are rejected as duplicates. Other measures are the share of the corpus'
stories that are rejected as bad (false drops), and the share of copies with one word in ten changed that are found.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.report import ROOT, Measure, median_interval, write
from training.common.errors import MendableError
from training.corpus.build import build_corpus
from training.corpus.duplicates import find_duplicates, fingerprint
from training.corpus.report import CorpusReport
from training.corpus.settings import CorpusSettings
from training.corpus.stories import read_stories

SHARED = ROOT.parent / "shared" / "corpus"
COPIES, CHANGED = 150, 0.1


def sources(folder: Path, miniature: bool) -> tuple[Path, ...]:
    """Return the corpus, or its first stories and its smallest book."""
    lines, other, books = SHARED / "stories.jsonl.gz", SHARED / "stories_other.jsonl.gz", SHARED / "anthologies"
    if not miniature:
        return lines, other, books
    few = folder / "stories.jsonl"
    with gzip.open(lines, "rt", encoding="utf-8") as file:
        few.write_text("".join(line for line, _ in zip(file, range(60))), "utf-8")
    return few, other, min(books.glob("*.epub"), key=lambda path: path.stat().st_size)


def timed(paths: tuple[Path, ...], out: Path) -> tuple[float, CorpusReport]:
    settings = CorpusSettings(sources=paths, out=out, workers=2)
    began = time.perf_counter()
    report = build_corpus(settings, lambda _: None)
    return time.perf_counter() - began, report


def false_drops(out: Path) -> tuple[int, dict[str, int]]:
    """Return the stories of the JSON Lines file that a rule or the filter rejected, which are mistakes because people chose all of them."""
    rules: dict[str, int] = {}
    with gzip.open(out / "rejected.jsonl.gz", "rt", encoding="utf-8") as lines:
        for one in map(json.loads, lines):
            if one["source"].startswith("stories") and not one["rule"].endswith("duplicate"):
                rules[one["rule"]] = rules.get(one["rule"], 0) + 1
    return sum(rules.values()), rules


def recall(count: int) -> float:
    """Return the share of edited copies that are found among all English stories of the corpus."""
    texts = [story.text for story in read_stories(SHARED / "stories.jsonl.gz")]
    rng = random.Random(1)
    chosen = rng.sample(range(len(texts)), count)
    others = " ".join(texts[number] for number in chosen[:20]).split()
    edited = [
        "".join(
            piece if not piece.strip() or rng.random() > CHANGED else rng.choice(others)
            for piece in re.split(r"(\s+)", texts[number])
        )
        for number in chosen
    ]
    everything = texts + edited
    threshold = CorpusSettings.model_fields["duplicate_threshold"].default
    gone = find_duplicates([fingerprint(text) for text in everything], [len(text) for text in everything], threshold)
    pairs = {frozenset((one.which, one.of)) for one in gone}
    return sum(frozenset((number, len(texts) + place)) in pairs for place, number in enumerate(chosen)) / count


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--miniature", action="store_true", help="a few stories and one book, to see whether it runs")
    parser.add_argument("--times", type=int, default=6)
    arguments = parser.parse_args()
    if not SHARED.is_dir():
        raise MendableError(f"There is no corpus in {SHARED}.")
    times = 2 if arguments.miniature else arguments.times
    speeds, seconds = [], []
    with tempfile.TemporaryDirectory() as folder:
        paths, out = sources(Path(folder), arguments.miniature), Path(folder) / "corpus"
        for number in range(times):
            took, report = timed(paths, out)
            speeds.append(report.found / took)
            seconds.append(report.seconds)
            print(f"{number + 1} of {times}: {report.found:,} stories in {took:.1f} s, {speeds[-1]:.1f} a second")
        dropped, rules = false_drops(out)
    low, median, high = median_interval(speeds)
    stages = {name: statistics.median(one[name] for one in seconds) for name in seconds[0]}
    by_stage = ", ".join(f"{name} {took:.1f}" for name, took in stages.items())
    own = sum(source.found for source in report.sources if source.source.startswith("stories"))
    copies = 10 if arguments.miniature else COPIES
    by_rule = ", ".join(f"{rule} {count}" for rule, count in rules.items()) or "none"
    measures = [
        Measure(
            "stories_per_s",
            round(median, 1),
            "stories/s",
            "higher",
            note=f"{report.found:,} stories, two processes; median of {times}, {low:.1f} to {high:.1f}; seconds: {by_stage}",
        ),
        Measure(
            "false_drops",
            round(dropped / own, 4),
            "share",
            "lower",
            note=f"{dropped} of {own:,} human stories: {by_rule}",
        ),
        Measure(
            "duplicate_recall",
            round(recall(copies), 4),
            "share",
            "higher",
            note=f"{copies} copies with one word in ten changed, among all stories",
        ),
    ]
    settings = {"workers": 2, "sources": len(report.sources), "kept": report.kept}
    write("corpus", measures, settings, miniature=arguments.miniature)


if __name__ == "__main__":
    main()
