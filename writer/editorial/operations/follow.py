"""Stores the position of the reader of a pair, and the paragraphs that were on the screen."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from writer.accounts.models import User
from writer.editorial.models import Reading, ReadingState
from writer.editorial.reading import Ranges, merged, sides
from writer.refusals import Missing
from writer.stories.text import paragraphs

MOST_SECONDS = 12 * 3600


def follow(
    *, by: User, reading_id: UUID, places: tuple[float, float], seen: tuple[Ranges, Ranges], seconds: int
) -> None:
    """Add what was seen to what was seen before, so that late or repeated messages do no harm."""
    with transaction.atomic():
        reading = (
            Reading.objects.select_for_update(of=("self",))
            .select_related("pair__first", "pair__second")
            .filter(pk=reading_id, editor=by)
            .first()
        )
        if reading is None:
            raise Missing
        left, right = (len(paragraphs(take.text)) for take in sides(reading))
        reading.place_left = min(max(0.0, places[0]), left)
        reading.place_right = min(max(0.0, places[1]), right)
        if reading.state == ReadingState.OPEN:
            reading.seen_left = merged(reading.seen_left + seen[0], left)
            reading.seen_right = merged(reading.seen_right + seen[1], right)
            reading.seconds = max(reading.seconds, min(seconds, MOST_SECONDS))
        reading.save(update_fields=["place_left", "place_right", "seen_left", "seen_right", "seconds"])
