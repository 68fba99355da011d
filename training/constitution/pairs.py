"""The pair set: editors' votes, mended passages and violations in stated proportions, as `dpo` learns them.

What editors disagreed about keeps its soft label. Pairs held out are not mixed: each is there once.
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
from training.constitution.mix import LENGTHS, Facts, mix
from training.constitution.settings import PairsSettings
from training.datasets.card import Table, dataset_card
from training.datasets.jsonl import Preference, read_jsonl
from training.datasets.stage import stage


class Sourced(Preference):
    """A line that says which source it is of."""

    source: str


def pairs(settings: PairsSettings) -> Path:
    """Raises MendableError where a line is of no known source, or nothing is left; the folder of the data set otherwise."""
    with stage(settings, settings.run_dir) as at:
        weights = settings.weights.model_dump()
        rows, held_out = _read(settings.data, weights), _read(settings.held_out, weights)
        facts = [facts_of(row) for row in rows]
        taken = mix(facts, weights, rows=settings.rows, repeats=settings.repeats, seed=settings.seed)
        if not taken:
            raise MendableError("No pair is left: the data hold none of a source whose weight is above nothing.")
        chosen = [rows[number].model_dump(exclude_defaults=True) for number in taken]
        report = _report(facts, taken, weights, len(held_out))
        at.log.log(f"{len(taken):,} pairs of {len(rows):,}, {len(held_out):,} held out.")
        files = {"train": chosen, "held_out": [row.model_dump(exclude_defaults=True) for row in held_out]}
        return at.write(files, report, _card(report))


def _read(paths: Sequence[Path], weights: Mapping[str, float]) -> list[Sourced]:
    rows = []
    for where, row in read_jsonl(paths, Sourced):
        if row.source not in weights:
            raise MendableError(f"{where}: there is no source {row.source!r}; there are {', '.join(weights)}.")
        rows.append(row)
    return rows


def facts_of(row: Sourced) -> Facts:
    """What `mix` needs to know of a pair."""
    texts = [[message.model_dump() for message in side] for side in (row.prompt, row.chosen, row.rejected)]
    sha256 = hashlib.sha256(json.dumps(texts, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
    words = sum(count_words(message.content) for message in row.chosen)
    return Facts(row.source, tuple(key for key, _ in row.principles), words, sha256)


def _report(
    facts: Sequence[Facts], taken: Sequence[int], weights: Mapping[str, float], held_out: int
) -> dict[str, Any]:
    there, got = Counter(one.source for one in facts), Counter(facts[number].source for number in taken)
    asked = {source: weights[source] / sum(weights[one] for one in there) for source in there if weights[source]}
    return {
        "rows": {"train": len(taken), "held_out": held_out},
        "sources": [
            {"source": source, "there": there[source], "taken": got[source],
             "share_asked": round(asked.get(source, 0.0), 4), "share_got": round(got[source] / len(taken), 4)}
            for source in sorted(there)
        ],
        "principles": dict(Counter(key for number in taken for key in facts[number].principles).most_common()),
        "lengths": [
            [f"{low:,} to {high:,}" if high else f"{low:,} and more", number]
            for low, high, number in _lengths(facts, taken)
        ],
    }  # fmt: skip


def _lengths(facts: Sequence[Facts], taken: Sequence[int]) -> list[tuple[int, int | None, int]]:
    counts = Counter(facts[number].length for number in taken)
    bounds = [0, *LENGTHS]
    return [
        (low, high, counts[place]) for place, (low, high) in enumerate(zip(bounds, [*LENGTHS, None])) if counts[place]
    ]


def _card(report: Mapping[str, Any]) -> str:
    shares = [
        (one["source"], one["there"], one["taken"], one["share_asked"], one["share_got"]) for one in report["sources"]
    ]
    return dataset_card(
        "Pairs",
        "Preferences in TRL's conversational format: `prompt`, `chosen`, `rejected`. `label` is how sure it is that the chosen text is the better "
        "(1 where it is not said), `source` where the pair comes from, `principles` what the rejected text breaks.",
        report,
        Table("Sources", ("source", "there", "taken", "share asked", "share got"), shares),
        Table("Principles", ("pairs", "principle"), [(number, key) for key, number in report["principles"].items()]),
        Table("Words of the chosen text", ("words", "pairs"), [tuple(one) for one in report["lengths"]]),
    )
