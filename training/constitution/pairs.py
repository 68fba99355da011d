"""The pair set for `dpo`: editors' votes, edited passages and violations, mixed by weight.

Pairs that editors disagreed about keep their soft label. Held-out pairs are not mixed: each is there once.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.common.errors import MendableError
from training.common.text import count_words
from training.constitution.mix import LENGTH_CLASSES, PairFacts, mix
from training.constitution.settings import PairsSettings
from training.datasets.card import Table, dataset_card
from training.datasets.jsonl import Preference, read_jsonl
from training.datasets.stage import stage


class SourcedPreference(Preference):
    """A preference with the source that it comes from."""

    source: str


def pairs(settings: PairsSettings) -> Path:
    """Run the stage. Returns the folder of the data set; raises MendableError for an unknown source, or if no pair is left."""
    with stage(settings, settings.run_dir) as at:
        weights = settings.weights.model_dump()
        rows, held_out = _read(settings.data, weights), _read(settings.held_out, weights)
        facts = [facts_of(row) for row in rows]
        taken = mix(facts, weights, rows=settings.rows, max_repeats=settings.max_repeats, seed=settings.seed)
        if not taken:
            raise MendableError("No pair is left: the data contain none from a source with a weight above 0.")
        chosen = [rows[number].model_dump(exclude_defaults=True) for number in taken]
        report = _report(facts, taken, weights, len(held_out))
        at.log.log(f"{len(taken):,} pairs of {len(rows):,}, {len(held_out):,} held out.")
        files = {"train": chosen, "held_out": [row.model_dump(exclude_defaults=True) for row in held_out]}
        return at.write(files, report, _card(report))


def _read(paths: Sequence[Path], weights: Mapping[str, float]) -> list[SourcedPreference]:
    rows = []
    for where, row in read_jsonl(paths, SourcedPreference):
        if row.source not in weights:
            raise MendableError(f"{where}: there is no source {row.source!r}; the sources are {', '.join(weights)}.")
        rows.append(row)
    return rows


def facts_of(row: SourcedPreference) -> PairFacts:
    """The facts about a pair that `mix` needs."""
    texts = [[message.model_dump() for message in side] for side in (row.prompt, row.chosen, row.rejected)]
    sha256 = hashlib.sha256(json.dumps(texts, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
    words = sum(count_words(message.content) for message in row.chosen)
    return PairFacts(row.source, tuple(key for key, _ in row.principles), words, sha256)


def _report(
    facts: Sequence[PairFacts], taken: Sequence[int], weights: Mapping[str, float], held_out: int
) -> dict[str, Any]:
    available, got = Counter(one.source for one in facts), Counter(facts[number].source for number in taken)
    total = sum(weights[one] for one in available)
    wanted = {source: weights[source] / total for source in available if weights[source]}
    return {
        "rows": {"train": len(taken), "held_out": held_out},
        "sources": [
            {"source": source, "available": available[source], "taken": got[source],
             "share_wanted": round(wanted.get(source, 0.0), 4), "share_taken": round(got[source] / len(taken), 4)}
            for source in sorted(available)
        ],
        "principles": dict(Counter(key for number in taken for key in facts[number].principles).most_common()),
        "lengths": [
            [f"{low:,} to {high:,}" if high else f"{low:,} and more", number]
            for low, high, number in _lengths(facts, taken)
        ],
    }  # fmt: skip


def _lengths(facts: Sequence[PairFacts], taken: Sequence[int]) -> list[tuple[int, int | None, int]]:
    """(first word count, last or None, pairs) of each length class that has pairs."""
    counts = Counter(facts[number].length_class for number in taken)
    bounds = [0, *LENGTH_CLASSES]
    return [
        (low, high, counts[place])
        for place, (low, high) in enumerate(zip(bounds, [*LENGTH_CLASSES, None]))
        if counts[place]
    ]


def _card(report: Mapping[str, Any]) -> str:
    shares = [
        (one["source"], one["available"], one["taken"], one["share_wanted"], one["share_taken"])
        for one in report["sources"]
    ]
    return dataset_card(
        "Pairs",
        "Preferences in TRL's conversational format: `prompt`, `chosen`, `rejected`. `label` is the probability that the chosen text is the better one "
        "(1 if absent), `source` where the pair comes from, `principles` the principles that the rejected text breaks.",
        report,
        Table("Sources", ("source", "available", "taken", "share wanted", "share taken"), shares),
        Table("Principles", ("pairs", "principle"), [(number, key) for key, number in report["principles"].items()]),
        Table("Words of the chosen text", ("words", "pairs"), [tuple(one) for one in report["lengths"]]),
    )
