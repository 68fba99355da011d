"""Makes the rows of a snapshot from judgements, with a fixed number of queries.

A pair with votes is one row: the take with more votes is chosen, and the share of its votes is the soft label. `passages` makes the
rows of single passages.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from statistics import fmean
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from writer.editorial.messages import row_digest
from writer.editorial.models import Brief, PairSource, Settlement, Take, Vote, VoteReason, VoteSource, Why
from writer.editorial.snapshots.passages import passage_messages, passages
from writer.editorial.snapshots.query import SnapshotQuery
from writer.editorial.snapshots.rows import Editor, Row, consented, of_arenas, period
from writer.editorial.stale import stale_reasons

__all__ = ["Built", "Row", "build", "consented_brief", "passage_messages"]


@dataclass
class Built:
    rows: list[Row]
    left_out: Counter[str]

    @property
    def sha256(self) -> str:
        return row_digest(*(row.sha256 for row in self.rows))

    def keep(self, briefs: set[int]) -> None:
        """Leave out rows on other briefs, whose writers withdrew consent while the rows were made."""
        kept = [row for row in self.rows if row.brief in briefs]
        self.left_out["rows whose writers took consent back meanwhile"] += len(self.rows) - len(kept)
        self.rows = kept

    @property
    def sources(self) -> Counter[str]:
        return Counter(row.origin["source"] for row in self.rows)


def build(query: SnapshotQuery) -> Built:
    """The rows in the order of their hashes, so that the same judgements make the same snapshot."""
    left_out: Counter[str] = Counter()
    if query.kind == "prompts":
        rows = list(_prompts(query, left_out))
    else:
        rows = [*_pairs(query, left_out), *passages(query, left_out)]
    unique: dict[str, Row] = {}
    for row in rows:
        if unique.setdefault(row.sha256, row) is not row:
            left_out["the same texts again"] += 1
    kept = sorted(unique.values(), key=lambda row: row.sha256)
    if query.most_share < 1 and query.kind == "preference":
        kept = _capped(kept, query.most_share, left_out)
    return Built(kept, left_out)


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
    votes = Vote.objects.filter(period(query), undone=None, source__in=sources, pair__gold=None)
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
    """A vote. `value` is from -2 to 2."""

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
    """The take that won, the label, and the editors; None if it is undecided, whose reason is counted.

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


# Prompts, and shares


def _prompts(query: SnapshotQuery, left_out: Counter[str]) -> Iterable[Row]:
    briefs = Brief.objects.filter(period(query), Exists(Take.objects.filter(brief=OuterRef("pk"))))
    briefs = briefs.exclude(pk__in=of_arenas().values("brief"))
    left_out["prompts of stories without consent"] += briefs.exclude(consented_brief()).count()
    for pk, sha256 in briefs.filter(consented_brief()).order_by("pk").values_list("pk", "sha256").iterator():
        yield Row(row_digest(sha256), pk, origin={"source": "prompts", "brief": pk})


def consented_brief() -> Q:
    return Q(story=None) | Q(story__sharing__training=True)


def _capped(rows: list[Row], most: float, left_out: Counter[str]) -> list[Row]:
    """Leave out rows until no editor has more than the share `most` of them. Rows without an editor do not count.

    An editor's total is too large by sum(share - most) over all rows, so leaving out a row in which the editor has more than `most`
    reduces this by share - most. Rows with the largest share are left out first, and of equal ones those with the greatest hash.
    This is repeated for other editors, whose share of the remaining rows has grown.
    """
    kept = rows
    while kept:
        parts: dict[int, float] = defaultdict(float)
        for row in kept:
            for editor, share in row.by.items():
                if editor is not None:
                    parts[editor] += share
        if not parts:
            break
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
