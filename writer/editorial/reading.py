"""Access to texts on the editors' desk, and the data for showing them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from writer.accounts.models import User
from writer.editorial.models import (
    Brief,
    Consent,
    Mark,
    Pair,
    PrincipleState,
    PrincipleVersion,
    Reading,
    Sharing,
    Sitting,
    Take,
)
from writer.refusals import Missing
from writer.stories.models import Story
from writer.stories.text import count_words, paragraphs

OFFERED = Q(brief__story__sharing__reading=True)


def readable(user: User, brief: Brief) -> bool:
    """Whether an editor may read texts on this brief: it belongs to no story, or the writer offers the story."""
    if not user.is_editor:
        return False
    return brief.story_id is None or Sharing.objects.filter(story=brief.story_id, reading=True).exists()


def offered_stories(user: User) -> QuerySet[Story]:
    """Stories that writers offer: first those that this editor has not finished (`finished`), then the newest."""
    if not user.is_editor:
        return Story.objects.none()
    sat = Sitting.objects.filter(editor=user, take__brief__story=OuterRef("pk")).exclude(done=None)
    offered = Story.objects.filter(sharing__reading=True).select_related("owner", "head__generation")
    return offered.annotate(finished=Exists(sat)).order_by("finished", "-updated")


def take_for(user: User, take_id: int) -> Take:
    """A take that this editor may mark and score: of an offered story, or of a pair that they have judged.

    Takes of a pair that is not judged yet are accessed through the reading, which does not tell which is which.
    """
    judged = Reading.objects.filter(
        Q(pair__first=OuterRef("pk")) | Q(pair__second=OuterRef("pk")), editor=user, state="voted"
    )
    found = (
        Take.objects.select_related("brief__story")
        .filter(pk=take_id)
        .filter(OFFERED | (Q(brief__story=None) & Exists(judged)))
        .first()
    )
    if found is None or not user.is_editor:
        raise Missing
    return found


def reading_for(user: User, reading_id: UUID) -> Reading:
    """A reading of this editor, while its texts may be read."""
    found = (
        Reading.objects.select_related("pair__first", "pair__second", "pair__brief")
        .filter(pk=reading_id, editor=user)
        .first()
    )
    if found is None or not readable(user, found.pair.brief):
        raise Missing
    return found


def sides(reading: Reading) -> tuple[Take, Take]:
    """The left and the right take."""
    pair: Pair = reading.pair
    return (pair.second, pair.first) if reading.swapped else (pair.first, pair.second)


Ranges = list[list[int]]


def merged(seen: Iterable[Iterable[int]], blocks: int) -> Ranges:
    """Ranges [from, to) of paragraphs as one sorted list without overlaps, inside a text of `blocks` paragraphs.

    >>> merged([[4, 9], [0, 2], [2, 3]], 8)
    [[0, 3], [4, 8]]
    """
    result: Ranges = []
    for start, end in sorted([max(0, a), min(b, blocks)] for a, b in seen):
        if start >= end:
            continue
        if result and start <= result[-1][1]:
            result[-1][1] = max(result[-1][1], end)
        else:
            result.append([start, end])
    return result


def share_read(text: str, seen: Ranges) -> float:
    """The share of the words of `text` in the paragraphs that were on the screen, 0 to 1."""
    counts = [count_words(block) for block in paragraphs(text)]
    read = sum(sum(counts[start:end]) for start, end in merged(seen, len(counts)))
    return round(read / max(1, sum(counts)), 4)


def principles_in_force() -> QuerySet[PrincipleVersion]:
    """The current version."""
    current = PrincipleVersion.objects.filter(principle__state=PrincipleState.IN_FORCE, pk=F("principle__current_id"))
    return current.select_related("principle")


def palette() -> list[dict[str, Any]]:
    """The principles in force, by name, with the data for an editor."""
    versions = principles_in_force()
    return [
        {
            "version": version.pk,
            "key": version.principle.key,
            "name": version.name,
            "number": version.number,
            "explanation": version.explanation,
            "examples": version.examples,
            "domains": version.domains,
            "tasks": version.tasks,
        }
        for version in versions.order_by("name")
    ]


def mark_json(mark: Mark) -> dict[str, Any]:
    """A mark as the page shows it. Its version must be loaded."""
    return {
        "id": str(mark.pk),
        "start": mark.start,
        "end": mark.end,
        "quote": mark.quote,
        "version": mark.version_id,
        "principle": mark.version.name,
        "severity": mark.severity,
        "note": mark.note,
        "better": mark.better,
    }


def marks_of(user: User, take: Take) -> list[dict[str, Any]]:
    """The marks of this editor. Those of others are not shown, so that editors mark independently."""
    return [mark_json(mark) for mark in take.marks.filter(by=user, removed=None).select_related("version")]


def brief_json(brief: Brief) -> dict[str, Any]:
    return {
        "title": brief.title,
        "premise": brief.premise,
        "target_words": brief.target_words,
        "given": brief.given,
        "prompt": brief.prompt,
    }


def take_json(take: Take) -> dict[str, Any]:
    return {"id": take.pk, "brief": brief_json(take.brief), "text": take.text, "words": take.words}


def reading_json(reading: Reading) -> dict[str, Any]:
    """The data of a reading for the browser: the brief, and two texts called left and right."""
    left, right = sides(reading)
    names = ("state", "settling", "place_left", "place_right", "seen_left", "seen_right", "seconds")
    return {
        "id": str(reading.pk),
        "brief": brief_json(reading.pair.brief),
        "left": left.text,
        "right": right.text,
        **{name: getattr(reading, name) for name in names},
    }


def sharing_json(story: Story) -> dict[str, bool]:
    found = Sharing.objects.filter(story=story).first() or Sharing(story=story)
    return {consent: getattr(found, consent) for consent in Consent.values}
