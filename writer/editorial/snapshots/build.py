"""The rows of a snapshot, from what was judged: a handful of queries, whatever the number of votes and marks.

A pair that was voted on is one row: the take with more votes is chosen, and the share of its votes is the soft label. A mended passage
is one row: the paragraphs as they were written are rejected, the same with the better wording are chosen, and what stands before
them is part of the prompt.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from itertools import groupby
from operator import itemgetter
from statistics import fmean
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from training.text import Message, count_words
from writer.editorial.messages import completion_messages, digest, prompt_messages, row_digest
from writer.editorial.models import Brief, Mark, Pair, PairSource, Settlement, Take, Vote, VoteReason, VoteSource, Why
from writer.editorial.snapshots.query import SnapshotQuery
from writer.editorial.stale import stale_marks, stale_reasons

Editor = int | None


@dataclass
class Row:
    """One row to be. `by` says which editors it rests on, and with what share: the shares of a row add up to 1."""

    sha256: str
    brief: int
    chosen: int | None = None
    rejected: int | None = None
    passage: dict[str, Any] | None = None
    label: float = 1.0
    origin: dict[str, Any] = field(default_factory=dict)
    by: dict[Editor, float] = field(default_factory=dict)


@dataclass
class Built:
    rows: list[Row]
    left_out: Counter[str]

    @property
    def sha256(self) -> str:
        return row_digest(*(row.sha256 for row in self.rows))

    def keep(self, briefs: set[int]) -> None:
        """Leave out rows on other briefs: their writers took consent back while the rows were put together."""
        kept = [row for row in self.rows if row.brief in briefs]
        self.left_out["rows whose writers took consent back meanwhile"] += len(self.rows) - len(kept)
        self.rows = kept

    @property
    def sources(self) -> Counter[str]:
        return Counter(row.origin["source"] for row in self.rows)


def _of_arenas() -> QuerySet[Pair]:
    """Pairs on prompts that are held out: nothing of them becomes a row."""
    return Pair.objects.filter(source=PairSource.ARENA)


def consented(path: str) -> Q:
    """Where the brief at `path` is nobody's story, or its writer lets it be used for training."""
    return Q(**{f"{path}__story": None}) | Q(**{f"{path}__story__sharing__training": True})


def build(query: SnapshotQuery) -> Built:
    """The rows in the order of their hashes, so that the same judgement makes the same snapshot."""
    left_out: Counter[str] = Counter()
    if query.kind == "prompts":
        rows = list(_prompts(query, left_out))
    else:
        rows = [*_pairs(query, left_out), *(_mended(query, left_out) if query.mended else ())]
    unique: dict[str, Row] = {}
    for row in rows:
        if unique.setdefault(row.sha256, row) is not row:
            left_out["the same texts again"] += 1
    kept = sorted(unique.values(), key=lambda row: row.sha256)
    if query.most_share < 1 and query.kind == "preference":
        kept = _capped(kept, query.most_share, left_out)
    return Built(kept, left_out)


def _period(query: SnapshotQuery, path: str = "created") -> Q:
    found = Q()
    if query.since:
        found &= Q(**{f"{path}__gte": datetime.combine(query.since, time(), UTC)})
    if query.until:
        found &= Q(**{f"{path}__lt": datetime.combine(query.until + timedelta(days=1), time(), UTC)})
    return found


# Pairs


def _votes(query: SnapshotQuery, left_out: Counter[str]) -> QuerySet[Vote]:
    sources = [
        source
        for asked, source in (
            (query.votes, VoteSource.EDITOR),
            (query.choices, VoteSource.WRITER),
            (query.imported, VoteSource.IMPORT),
        )
        if asked
    ]
    votes = Vote.objects.filter(_period(query), undone=None, source__in=sources, pair__gold=None)
    votes = votes.exclude(pair__source=PairSource.ARENA)
    if query.editors:
        votes = votes.filter(by__in=query.editors)
    if query.principles:
        named = VoteReason.objects.filter(vote__pair=OuterRef("pair"), vote__undone=None)
        votes = votes.filter(Exists(named.filter(version__principle__key__in=query.principles)))
    left_out["votes on stories without consent"] += votes.exclude(consented("pair__brief")).count()
    votes = votes.filter(consented("pair__brief"))
    stale = Exists(stale_reasons().filter(vote=OuterRef("pk")))
    left_out["votes under an older meaning of a principle"] += votes.filter(stale).count()
    return votes.exclude(stale)


@dataclass(frozen=True)
class _Voted:
    """A vote as the rows need it. `value` is -2 to 2."""

    id: int
    by: Editor
    source: str
    value: int


def _pairs(query: SnapshotQuery, left_out: Counter[str]) -> Iterable[Row]:
    votes = _votes(query, left_out)
    settlements = Settlement.objects.filter(removed=None)
    if query.editors:
        settlements = settlements.filter(by__in=query.editors)
    settled = {pair: said for pair, *said in settlements.values_list("pair_id", "preference", "why", "by_id")}
    reasons: dict[int, list[list[Any]]] = defaultdict(list)
    named = VoteReason.objects.filter(vote__in=votes).values_list(
        "vote_id", "version__principle__key", "version__number"
    )
    for vote, key, number in named.iterator():
        reasons[vote].append([key, number])
    columns = votes.order_by("pair_id", "id").values_list(
        "pair_id", "id", "by_id", "source", "preference", "read_first", "read_second",
        "pair__brief_id", "pair__brief__sha256", "pair__first_id", "pair__first__sha256", "pair__second_id", "pair__second__sha256",
    )  # fmt: skip
    for pair, group in groupby(columns.iterator(chunk_size=10_000), key=itemgetter(0)):
        lines = list(group)
        voted = []
        for line in lines:
            if line[3] == VoteSource.EDITOR and min(line[5] or 0, line[6] or 0) < query.least_read:
                left_out["votes by somebody who had read too little"] += 1
            else:
                voted.append(_Voted(*line[1:5]))
        brief, brief_sha, first, first_sha, second, second_sha = lines[0][7:]
        row = _decided(query, voted, settled.get(pair), left_out)
        if row is None:
            continue
        won, lost = (first, first_sha), (second, second_sha)
        if not row.origin.pop("first"):
            won, lost = lost, won
        row.brief, row.chosen, row.rejected = brief, won[0], lost[0]
        row.sha256 = row_digest(brief_sha, won[1], lost[1])
        row.origin["pair"] = pair
        row.origin["principles"] = sorted({tuple(one) for vote in voted for one in reasons.get(vote.id, ())})
        yield row


def _decided(
    query: SnapshotQuery, voted: list[_Voted], settled: list[Any] | None, left_out: Counter[str]
) -> Row | None:
    """Which take won, how surely, and by whom; None, and a reason counted, where nobody can say.

    `settled` is the settlement's preference, its reason and its editor.
    """
    share = fmean(1.0 if vote.value < 0 else 0.5 if vote.value == 0 else 0.0 for vote in voted) if voted else 0.5
    origin: dict[str, Any] = {"votes": [{"vote": vote.id, "editor": vote.by, "value": vote.value} for vote in voted]}
    only_editors = all(vote.source == VoteSource.EDITOR for vote in voted)
    if settled is not None and settled[0] == 0 and only_editors:
        left_out["pairs that were settled as a tie"] += 1
        return None
    if settled is not None and only_editors:
        preference, why, by = settled
        first = preference < 0
        label = max(0.5, share if first else 1 - share) if why == Why.TASTE else 1.0
        origin |= {"source": "votes", "first": first, "settled": {"editor": by, "why": why}}
        return Row("", 0, label=round(label, 4), origin=origin, by={by: 1.0})
    if not voted:
        return None
    if only_editors and len(voted) < query.least_votes:
        left_out["pairs with too few votes"] += 1
    elif share == 0.5:
        left_out["pairs that end in a tie"] += 1
    elif max(share, 1 - share) < query.least_agreement:
        left_out["pairs that editors disagree about"] += 1
    else:
        source = {"editor": "votes", "writer": "choices", "import": "imported"}[voted[0].source]
        origin |= {"source": source, "first": share > 0.5}
        by_editor = Counter(vote.by for vote in voted)
        by_shares = {editor: count / len(voted) for editor, count in by_editor.items()}
        return Row("", 0, label=round(max(share, 1 - share), 4), origin=origin, by=by_shares)
    return None


# Mended passages


def _mended(query: SnapshotQuery, left_out: Counter[str]) -> Iterable[Row]:
    marks = Mark.objects.filter(_period(query), removed=None).exclude(better="")
    for side in ("first", "second"):
        marks = marks.exclude(take__in=_of_arenas().values(side))
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
    for take_ids, group in _by_takes(columns.iterator(chunk_size=5000)):
        takes = Take.objects.select_related("brief").defer("origins").in_bulk(take_ids)
        words = {pk: _Words(take) for pk, take in takes.items()}
        for take_id, mark, by, start, end, better, severity, key, number in group:
            take = takes[take_id]
            passage = {"start": start, "end": end, "better": better}
            written = words[take_id].before(take.text.count("\n\n", 0, start))
            prompt, chosen, rejected = passage_messages(take.brief, take.text, passage, written=written)
            yield Row(
                row_digest(digest(prompt), digest(chosen), digest(rejected)),
                take.brief_id,
                take_id,
                take_id,
                passage,
                origin={
                    "source": "mended",
                    "mark": str(mark),
                    "editor": by,
                    "severity": severity,
                    "principles": [[key, number]],
                },
                by={by: 1.0},
            )


class _Words:
    """Words before a paragraph of a take, with those that were given; each paragraph is counted once, when it is asked for."""

    def __init__(self, take: Take) -> None:
        self._texts = [take.brief.given, *take.text.split("\n\n")]
        self._counts: list[int] = []

    def before(self, block: int) -> int:
        self._counts += [count_words(text) for text in self._texts[len(self._counts) : block + 1]]
        return sum(self._counts[: block + 1])


def _by_takes(lines: Iterable[tuple[Any, ...]], most: int = 200) -> Iterable[tuple[list[int], list[tuple[Any, ...]]]]:
    """Lines that are ordered by take, some takes at a time: their texts are long."""
    ids: list[int] = []
    part: list[tuple[Any, ...]] = []
    for take, group in groupby(lines, key=itemgetter(0)):
        ids.append(take)
        part += group
        if len(ids) == most:
            yield ids, part
            ids, part = [], []
    if ids:
        yield ids, part


def passage_messages(
    brief: Brief, text: str, passage: dict[str, Any], *, written: int | None = None
) -> tuple[list[Message], list[Message], list[Message]]:
    """Prompt, chosen and rejected of a mended passage: whole paragraphs, after all that stands before them.

    `written` are the words of what stands before, where somebody has counted them.
    """
    start, end = passage["start"], passage["end"]
    begin = text.rfind("\n\n", 0, start) + 2 if "\n\n" in text[:start] else 0
    stop = text.find("\n\n", end)
    stop = len(text) if stop < 0 else stop
    as_written = text[begin:stop]
    mended = text[begin:start] + passage["better"] + text[end:stop]
    before = "\n\n".join(part for part in (brief.given.rstrip(), text[:begin].rstrip()) if part)
    if brief.prompt is not None:
        prompt: list[Message] = [*brief.prompt, *(completion_messages(before) if before else [])]
    else:
        prompt = prompt_messages(
            title=brief.title, premise=brief.premise, target=brief.target_words or 0, given=before, written=written
        )
    return prompt, completion_messages(mended), completion_messages(as_written)


# Prompts, and shares


def _prompts(query: SnapshotQuery, left_out: Counter[str]) -> Iterable[Row]:
    briefs = Brief.objects.filter(_period(query), Exists(Take.objects.filter(brief=OuterRef("pk"))))
    briefs = briefs.exclude(pk__in=_of_arenas().values("brief"))
    left_out["prompts of stories without consent"] += briefs.exclude(consented_brief()).count()
    for pk, sha256 in briefs.filter(consented_brief()).order_by("pk").values_list("pk", "sha256").iterator():
        yield Row(row_digest(sha256), pk, origin={"source": "prompts", "brief": pk})


def consented_brief() -> Q:
    return Q(story=None) | Q(story__sharing__training=True)


def _capped(rows: list[Row], most: float, left_out: Counter[str]) -> list[Row]:
    """Leave out rows until no editor has more than the share `most` of them.

    An editor's part is too large by sum(share - most) over all rows, so each row that is left out and rests on them by more than
    `most` brings that down by share - most. Those that rest on them most go first, and of equal ones those with the greatest hash.
    It may have to be done again for another editor, whose part of what is left has grown by it.
    """
    kept = rows
    while kept:
        parts: dict[Editor, float] = defaultdict(float)
        for row in kept:
            for editor, share in row.by.items():
                parts[editor] += share
        worst, part = max(parts.items(), key=itemgetter(1))
        excess = part - most * len(kept)
        if excess <= 1e-9:
            break
        gone: set[str] = set()
        for row in sorted(kept, key=lambda row: (row.by.get(worst, 0.0), row.sha256), reverse=True):
            if excess <= 1e-9:
                break
            gone.add(row.sha256)
            excess -= row.by[worst] - most
        left_out["rows over one editor's share"] += len(gone)
        kept = [row for row in kept if row.sha256 not in gone]
    return kept
