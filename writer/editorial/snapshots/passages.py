"""Makes rows of single passages of a take: whole paragraphs, after the text before them.

A corrected passage is rejected as it was written, and chosen with an editor's better wording. For a violation, the passage as it was
written is chosen, and the wording that breaks a principle is rejected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

from django.db.models import Exists, OuterRef
from django.db.models.functions import Coalesce

from training.common.text import Message, count_words
from writer.editorial.messages import completion_messages, digest, prompt_messages, row_digest
from writer.editorial.models import Brief, Mark, PrincipleState, Take, Violation, ViolationState
from writer.editorial.snapshots.query import SnapshotQuery
from writer.editorial.snapshots.rows import Editor, Row, consented, of_arenas, period
from writer.editorial.stale import stale_marks, violations_in_force

AT_ONCE = 200
"""Takes in a batch; few, since their texts are long."""


class _Found(NamedTuple):
    """A passage of a take that becomes a row, and its editor."""

    take: int
    passage: dict[str, Any]
    by: Editor
    origin: dict[str, Any]


def passages(query: SnapshotQuery, left_out: Counter[str]) -> Iterator[Row]:
    if query.mended:
        yield from _rows(_mended(query, left_out))
    if query.violations != "no":
        yield from _rows(_violations(query, left_out))


def _mended(query: SnapshotQuery, left_out: Counter[str]) -> Iterator[_Found]:
    marks = Mark.objects.filter(period(query), removed=None).exclude(better="")
    for side in ("first", "second"):
        marks = marks.exclude(take__in=of_arenas().values(side))
    if query.editors:
        marks = marks.filter(by__in=query.editors)
    if query.principles:
        marks = marks.filter(version__principle__key__in=query.principles)
    left_out["mended passages of stories without consent"] += marks.exclude(consented("take__brief")).count()
    marks = marks.filter(consented("take__brief"))
    stale = stale_marks().values("pk")
    left_out["mended passages under an older meaning of a principle"] += marks.filter(pk__in=stale).count()
    columns = (
        marks.exclude(pk__in=stale)
        .order_by("take_id", "start", "id")
        .values_list(
            "take_id", "id", "by_id", "start", "end", "better", "severity", "version__principle__key", "version__number"
        )
    )
    for take, mark, by, start, end, better, severity, key, number in columns.iterator(chunk_size=5000):
        named = {"mark": str(mark), "editor": by, "severity": severity, "principles": [[key, number]]}
        yield _Found(take, {"start": start, "end": end, "better": better}, by, {"source": "mended"} | named)


def _violations(query: SnapshotQuery, left_out: Counter[str]) -> Iterator[_Found]:
    """The accepted violations, with the editor's wording if there is one; or all that were not rejected."""
    refused = (ViolationState.REJECTED, ViolationState.WAITING)
    found = Violation.objects.exclude(state__in=refused if query.violations == "accepted" else refused[:1])
    found = found.annotate(said=Coalesce("judged", "created")).filter(period(query, "said"))
    if query.editors:
        found = found.filter(by__in=query.editors)
    if query.principles:
        found = found.filter(version__principle__key__in=query.principles)
    held_out = Exists(of_arenas().filter(brief=OuterRef("take__brief")))
    left_out["violations on prompts of an arena"] += found.filter(held_out).count()
    found = found.exclude(held_out)
    left_out["violations in stories without consent"] += found.exclude(consented("take__brief")).count()
    found = found.filter(consented("take__brief"))
    left_out["violations of principles that are not in force"] += found.exclude(
        version__principle__state=PrincipleState.IN_FORCE
    ).count()
    found = found.filter(version__principle__state=PrincipleState.IN_FORCE)
    in_force = violations_in_force().values("pk")
    left_out["violations under an older meaning of a principle"] += found.exclude(pk__in=in_force).count()
    columns = (
        found.filter(pk__in=in_force)
        .order_by("take_id", "start", "id")
        .values_list(
            "take_id", "id", "by_id", "start", "end", "worse", "mended", "version__principle__key", "version__number"
        )
    )
    for take, violation, by, start, end, worse, mended, key, number in columns.iterator(chunk_size=5000):
        origin = {"source": "violations", "violation": violation, "principles": [[key, number]], "editor": by}
        yield _Found(take, {"start": start, "end": end, "worse": mended or worse}, by, origin)


def _rows(found: Iterable[_Found]) -> Iterator[Row]:
    """`found` in the order of the takes."""
    for ids, part in _by_takes(found):
        takes = Take.objects.select_related("brief").defer("origins").in_bulk(ids)
        words = {pk: _Words(take) for pk, take in takes.items()}
        for one in part:
            take = takes[one.take]
            written = words[one.take].before(take.text.count("\n\n", 0, one.passage["start"]))
            messages = passage_messages(take.brief, take.text, one.passage, written=written)
            yield Row(
                row_digest(*map(digest, messages)),
                take.brief_id,
                one.take,
                one.take,
                one.passage,
                origin=one.origin,
                by={one.by: 1.0},
            )


class _Words:
    """Counts the words before a paragraph of a take, including the given text; each paragraph is counted once, when needed."""

    def __init__(self, take: Take) -> None:
        self._texts = [take.brief.given, *take.text.split("\n\n")]
        self._counts: list[int] = []

    def before(self, block: int) -> int:
        self._counts += [count_words(text) for text in self._texts[len(self._counts) : block + 1]]
        return sum(self._counts[: block + 1])


def _by_takes(found: Iterable[_Found]) -> Iterator[tuple[list[int], list[_Found]]]:
    """Batches of takes, with the passages found in them."""
    ids: list[int] = []
    part: list[_Found] = []
    for take, group in groupby(found, key=lambda one: one.take):
        ids.append(take)
        part += group
        if len(ids) == AT_ONCE:
            yield ids, part
            ids, part = [], []
    if ids:
        yield ids, part


def passage_messages(
    brief: Brief, text: str, passage: dict[str, Any], *, written: int | None = None
) -> tuple[list[Message], list[Message], list[Message]]:
    """Prompt, chosen and rejected of a passage with a better or a worse wording.

    `written` is the number of words before it, if it is known.
    """
    start, end = passage["start"], passage["end"]
    begin = text.rfind("\n\n", 0, start) + 2 if "\n\n" in text[:start] else 0
    stop = text.find("\n\n", end)
    stop = len(text) if stop < 0 else stop
    as_written = completion_messages(text[begin:stop])
    wording = passage["better"] if "better" in passage else passage["worse"]
    reworded = completion_messages(text[begin:start] + wording + text[end:stop])
    before = "\n\n".join(part for part in (brief.given.rstrip(), text[:begin].rstrip()) if part)
    if brief.prompt is not None:
        prompt: list[Message] = [*brief.prompt, *(completion_messages(before) if before else [])]
    else:
        prompt = prompt_messages(
            title=brief.title, premise=brief.premise, target=brief.target_words or 0, given=before, written=written
        )
    return (prompt, reworded, as_written) if "better" in passage else (prompt, as_written, reworded)
