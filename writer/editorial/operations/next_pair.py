"""Chooses the next pair of an editor.

A pair needs `overlap` votes. An open reading counts as a vote for a day, so that no more editors read a pair than are needed; later
the pair is given to others. Now and then an editor gets a gold pair, whose answer is known.
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Exists, F, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from writer.accounts.models import User
from writer.editorial.models import Pair, Reading, ReadingState, Settlement, Vote
from writer.editorial.operations.ask_pair import collect_askings
from writer.refusals import TooMuch
from writer.stories.operations.locking import lock_person

TURN = timedelta(days=1)
GOLD_EVERY = 10
"""One in so many pairs is a gold pair, while there are some that this editor has not seen."""

READABLE = Q(brief__story=None) | Q(brief__story__sharing__reading=True)


def next_pair(*, by: User) -> Reading | None:
    """The open reading of this editor, or a new one; None if no pair is waiting."""
    collect_askings()
    with transaction.atomic():
        lock_person(by)
        begun = (
            Reading.objects.filter(editor=by, state=ReadingState.OPEN, settling=False)
            .filter(Q(pair__brief__story=None) | Q(pair__brief__story__sharing__reading=True))
            .order_by("-opened")
            .first()
        )
        if begun is not None:
            return begun
        check_limit(by)
        pair = _gold(by) or _first(waiting_pairs(by))
        return None if pair is None else _turn(pair, by)


def check_limit(by: User) -> None:
    today = Reading.objects.filter(editor=by, opened__gte=timezone.now() - timedelta(days=1)).count()
    if today >= settings.PAIRS_PER_DAY:
        raise TooMuch(
            f"You have read {today} pairs in 24 hours, which is the limit for one editor. Fresh eyes judge better."
        )


def _turn(pair: Pair, by: User, *, settling: bool = False) -> Reading:
    return Reading.objects.create(pair=pair, editor=by, swapped=bool(secrets.randbits(1)), settling=settling)


def _unread(by: User) -> Q:
    return ~Exists(Reading.objects.filter(pair=OuterRef("pk"), editor=by)) & READABLE & ~Q(brief__story__owner=by)


def _gold(by: User) -> Pair | None:
    recent = list(
        Reading.objects.filter(editor=by).order_by("-opened").values_list("pair__gold", flat=True)[: GOLD_EVERY - 1]
    )
    if len(recent) < GOLD_EVERY - 1 or any(gold is not None for gold in recent):
        return None
    return Pair.objects.filter(_unread(by), gold__isnull=False).order_by("pk").first()


def waiting_pairs(by: User) -> QuerySet[Pair]:
    """Pairs that this editor can get now."""
    open_turns = (
        Reading.objects.filter(
            pair=OuterRef("pk"), state=ReadingState.OPEN, settling=False, opened__gt=timezone.now() - TURN
        )
        .order_by()
        .values("pair")
        .annotate(count=Count("*"))
        .values("count")
    )
    taken = Coalesce(Subquery(open_turns, output_field=IntegerField()), 0)
    return Pair.objects.filter(_unread(by), wanted=True, gold=None).filter(overlap__gt=F("votes") + taken)


def _first(pairs: QuerySet[Pair]) -> Pair | None:
    """The most urgent pair that no other request holds.

    Readings of others were counted before the lock, so they are counted again under it.
    """
    urgent = pairs.order_by(F("priority").desc(), "pk").select_for_update(of=("self",), skip_locked=True)
    while (found := urgent.first()) is not None:
        if pairs.filter(pk=found.pk).exists():
            return found
    return None


def disagreements() -> QuerySet[Pair]:
    """Unsettled pairs with all their votes, on which editors disagree."""
    votes = Vote.objects.filter(pair=OuterRef("pk"), undone=None, source="editor")
    settled = Settlement.objects.filter(pair=OuterRef("pk"), removed=None)
    return Pair.objects.filter(
        Exists(votes.filter(preference__lt=0)),
        Exists(votes.filter(preference__gt=0)),
        ~Exists(settled),
        READABLE,
        wanted=False,
        gold=None,
    )


def next_disagreement(*, by: User) -> Reading | None:
    """A pair for this editor to settle, on which they have not voted."""
    with transaction.atomic():
        lock_person(by)
        begun = Reading.objects.filter(editor=by, state=ReadingState.OPEN, settling=True).order_by("-opened").first()
        if begun is not None:
            return begun
        pair = _first(disagreements().filter(_unread(by)))
        return None if pair is None else _turn(pair, by, settling=True)
