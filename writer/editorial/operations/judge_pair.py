"""Votes on pairs, skips and settlements of disagreements; and their undo."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils import timezone

from writer.accounts.models import User
from writer.editorial.acts import SettleAct, SkipAct, VoteAct
from writer.editorial.models import (
    AXES,
    Pair,
    PrincipleState,
    PrincipleVersion,
    Reading,
    ReadingState,
    Settlement,
    SkipReason,
    Vote,
    VoteReason,
    VoteSource,
    Why,
)
from writer.editorial.reading import readable, share_read
from writer.refusals import Missing, NotNow, Refused
from writer.stories.text import checked_text

Before = dict[str, Any]


def _open_reading(by: User, reading_id: UUID, *, settling: bool) -> Reading:
    found = (
        Reading.objects.select_for_update(of=("self", "pair"))
        .select_related("pair__first", "pair__second", "pair__brief")
        .filter(pk=reading_id, editor=by, settling=settling)
        .first()
    )
    if found is None:
        raise Missing
    if found.state != ReadingState.OPEN:
        raise NotNow("You have judged this pair already. Undo that first to judge it again.")
    if not readable(by, found.pair.brief):
        raise NotNow("The writer no longer offers this story. Your vote is not needed.")
    return found


def _close(reading: Reading, state: ReadingState, **changes: str) -> None:
    Reading.objects.filter(pk=reading.pk).update(state=state, closed=timezone.now(), **changes)


def _count(pair: Pair, change: int) -> None:
    pair.votes += change
    pair.wanted = pair.votes < pair.overlap
    pair.save(update_fields=["votes", "wanted"])


def known_versions(ids: list[int]) -> list[PrincipleVersion]:
    """The versions with these ids, if their principles are in force."""
    found = PrincipleVersion.objects.filter(pk__in=ids, principle__state=PrincipleState.IN_FORCE)
    if len(found) != len(set(ids)):
        raise Refused("One of these principles is no longer in force. Load the page again.", field="principles")
    return list(found)


def vote(by: User, asked: VoteAct) -> tuple[int, Before]:
    reason = checked_text(asked.reason, "reason", most=4000)
    unknown = set(asked.axes) - set(AXES)
    if unknown:
        raise Refused(f"There is no axis {min(unknown)}.", field="axes")
    reading = _open_reading(by, asked.reading, settling=False)
    versions = known_versions(asked.principles)
    pair, turn = reading.pair, -1 if reading.swapped else 1
    seen = reading.seen_right, reading.seen_left
    first, second = seen if reading.swapped else seen[::-1]
    stored = Vote.objects.create(
        pair=pair,
        reading=reading,
        by=by,
        source=VoteSource.EDITOR,
        preference=turn * asked.preference,
        axes={name: turn * value for name, value in asked.axes.items()},
        reason=reason,
        read_first=share_read(pair.first.text, first),
        read_second=share_read(pair.second.text, second),
        seconds=reading.seconds,
    )
    VoteReason.objects.bulk_create(VoteReason(vote=stored, version=version) for version in versions)
    _close(reading, ReadingState.VOTED)
    _count(pair, 1)
    return stored.pk, {}


def undo_vote(by: User, subject: str, before: Before) -> None:  # noqa: ARG001
    stored = Vote.objects.select_for_update(of=("self",)).select_related("reading").get(pk=subject)
    if stored.reading is None:
        raise NotNow("The pair has been deleted.")
    if stored.reading.revealed:
        raise NotNow("You have been told who wrote these two, so the vote cannot be changed.")
    stored.undone = timezone.now()
    stored.save(update_fields=["undone"])
    _reopen(stored.reading)
    _count(Pair.objects.select_for_update().get(pk=stored.pair_id), -1)


def _reopen(reading: Reading) -> None:
    Reading.objects.filter(pk=reading.pk).update(state=ReadingState.OPEN, closed=None, skip_reason="", skip_note="")


def skip(by: User, asked: SkipAct) -> tuple[UUID, Before]:
    if asked.why not in SkipReason.values or not asked.why:
        raise Refused("Why do you skip it? Choose a reason.", field="why")
    note = checked_text(asked.note, "note", most=500, one_line=True, required=asked.why == SkipReason.OTHER)
    reading = _open_reading(by, asked.reading, settling=False)
    _close(reading, ReadingState.SKIPPED, skip_reason=asked.why, skip_note=note)
    return reading.pk, {}


def undo_skip(by: User, subject: str, before: Before) -> None:  # noqa: ARG001
    _reopen(Reading.objects.get(pk=subject))


def settle(by: User, asked: SettleAct) -> tuple[int, Before]:
    if asked.why not in Why.values:
        raise Refused("Why did they disagree? Choose a reason.", field="why")
    words = checked_text(asked.words, "words", most=4000, required=True)
    if asked.why == Why.UNCLEAR and asked.version is None:
        raise Refused("Which principle is unclear?", field="version")
    reading = _open_reading(by, asked.reading, settling=True)
    if reading.pair.settlements.filter(removed=None).exists():
        raise NotNow("Somebody settled this pair while you read it. Your decision was not stored.")
    settled = Settlement.objects.create(
        pair=reading.pair,
        by=by,
        preference=-asked.preference if reading.swapped else asked.preference,
        why=asked.why,
        words=words,
        version=known_versions([asked.version])[0] if asked.version else None,
    )
    _close(reading, ReadingState.VOTED)
    return settled.pk, {"reading": str(reading.pk)}


def undo_settle(by: User, subject: str, before: Before) -> None:  # noqa: ARG001
    Settlement.objects.filter(pk=subject).update(removed=timezone.now())
    _reopen(Reading.objects.get(pk=before["reading"]))
