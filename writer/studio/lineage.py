"""Lineage: the judgements that a version learned from, and the versions that learned from a judgement, by the rows of snapshots."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet

from writer.accounts.models import User
from writer.editorial.models import PrincipleVersion, SnapshotRow
from writer.stories.models import ModelVersion
from writer.studio.models import Run


@dataclass
class Learned:
    """The data that one run learned from."""

    run: Run
    pairs: int = 0
    spans: int = 0
    violations: int = 0
    editors: list[tuple[User | None, int]] = field(default_factory=list)
    principles: list[tuple[PrincipleVersion, int]] = field(default_factory=list)


@dataclass
class Step:
    version: ModelVersion
    learned: Learned | None


def lineage_of(version: ModelVersion) -> list[Step]:
    """The data that the version and each of its ancestors learned from."""
    made_by = runs_of(version)
    return [Step(one, learned_by(run) if (run := made_by.get(one.pk)) else None) for one in version.ancestry]


def runs_of(version: ModelVersion) -> dict[int, Run]:
    """The runs that made the version and its ancestors, by version; imported ones have none. No table of people is read, for workers."""
    found = Run.objects.filter(version__in=version.ancestry).select_related("snapshot", "dataset")
    return {run.version_id: run for run in found if run.version_id is not None}


_COUNTS = """
SELECT 'pair', origin->>'pair', count(*) FROM editorial_snapshotrow WHERE snapshot_id = %(snapshot)s AND origin ? 'pair' GROUP BY 2
UNION ALL
SELECT 'mark', origin->>'mark', count(*) FROM editorial_snapshotrow WHERE snapshot_id = %(snapshot)s AND origin ? 'mark' GROUP BY 2
UNION ALL
SELECT 'violation', origin->>'violation', count(*) FROM editorial_snapshotrow
WHERE snapshot_id = %(snapshot)s AND origin ? 'violation' GROUP BY 2
UNION ALL
SELECT 'editor', editor, count(*) FROM (
    SELECT DISTINCT index, vote->>'editor' AS editor FROM editorial_snapshotrow, jsonb_array_elements(origin->'votes') AS vote
    WHERE snapshot_id = %(snapshot)s AND origin ? 'votes'
    UNION SELECT index, origin->>'editor' FROM editorial_snapshotrow
    WHERE snapshot_id = %(snapshot)s AND origin ? 'editor' AND NOT (origin ? 'violation' AND origin->>'editor' IS NULL)
    UNION SELECT index, origin->'settled'->>'editor' FROM editorial_snapshotrow WHERE snapshot_id = %(snapshot)s AND origin ? 'settled'
) AS said GROUP BY 2
UNION ALL
SELECT 'principle', (named->>0) || ' ' || (named->>1), count(*)
FROM editorial_snapshotrow, jsonb_array_elements(origin->'principles') AS named
WHERE snapshot_id = %(snapshot)s AND origin ? 'principles' GROUP BY 2
"""


def learned_by(run: Run) -> Learned:
    found = Learned(run)
    if run.snapshot_id is None:
        return found
    counts: dict[str, Counter[str]] = {
        "pair": Counter(),
        "mark": Counter(),
        "violation": Counter(),
        "editor": Counter(),
        "principle": Counter(),
    }
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, {"snapshot": run.snapshot_id})
        for what, name, number in cursor.fetchall():
            counts[what][name] = number
    found.pairs, found.spans, found.violations = (len(counts[what]) for what in ("pair", "mark", "violation"))
    people = User.objects.in_bulk([int(name) for name in counts["editor"] if name])
    found.editors = [
        (people.get(int(name)) if name else None, number) for name, number in counts["editor"].most_common()
    ]
    named = {tuple(name.rsplit(" ", 1)): number for name, number in counts["principle"].items()}
    wanted = Q()
    for key, number in named:
        wanted |= Q(principle__key=key, number=int(number))
    versions = PrincipleVersion.objects.filter(wanted).select_related("principle") if named else ()
    found.principles = sorted(
        ((one, named[(one.principle.key, str(one.number))]) for one in versions), key=lambda pair: -pair[1]
    )
    return found


def _that_learned_from(**origin: Any) -> QuerySet[ModelVersion]:
    rows = SnapshotRow.objects.filter(snapshot=OuterRef("run__snapshot"))
    wanted = Q()
    for lookup in origin.values():
        wanted |= Q(origin__contains=lookup)
    return ModelVersion.objects.filter(Exists(rows.filter(wanted))).select_related("run").order_by("pk")


def versions_of_editor(editor_id: int) -> QuerySet[ModelVersion]:
    """Versions that learned from what this editor judged, marked, accepted or settled."""
    return _that_learned_from(
        votes={"votes": [{"editor": editor_id}]},
        marks={"editor": editor_id},
        settled={"settled": {"editor": editor_id}},
    )


def versions_of_principle(key: str, number: int | None = None) -> QuerySet[ModelVersion]:
    """Versions that learned from judgements that refer to this principle, in one or all of its versions."""
    if number is not None:
        return _that_learned_from(named={"principles": [[key, number]]})
    rows = SnapshotRow.objects.filter(snapshot=OuterRef("run__snapshot"), origin__principles__contains=[[key]])
    return ModelVersion.objects.filter(Exists(rows)).select_related("run").order_by("pk")
