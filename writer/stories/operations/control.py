"""Pause, resume, stop. For a running generation this is a wish that its narrator carries out; otherwise it takes effect at once."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from writer.accounts.models import User
from writer.refusals import Missing, NotNow
from writer.stories.models import Generation, State, Wish
from writer.stories.operations.locking import lock_generation, lock_person, lock_story
from writer.stories.operations.start_generation import check_limits
from writer.stories.wake import call_narrators, call_readers


def pause(*, user: User, generation: Generation) -> Generation:
    with transaction.atomic():
        row = _locked(user, generation)
        if row.state == State.RUNNING:
            if row.wish == Wish.STOP:
                raise NotNow("The story is being stopped.")
            row.wish = Wish.PAUSE
        elif row.state == State.QUEUED:
            row.state = State.PAUSED
        elif row.state != State.PAUSED:
            raise NotNow("The story is not being written, so there is nothing to pause.")
        return _tell(row)


def stop(*, user: User, generation: Generation) -> Generation:
    with transaction.atomic():
        row = _locked(user, generation)
        if row.state == State.RUNNING:
            row.wish = Wish.STOP
        elif row.state in (State.QUEUED, State.PAUSED):
            row.state, row.wish, row.finished = State.STOPPED, Wish.NONE, timezone.now()
        elif row.state != State.STOPPED:
            raise NotNow("The story is not being written, so there is nothing to stop.")
        return _tell(row)


def continue_(*, user: User, generation: Generation) -> Generation:
    """Resume the same log in a new attempt. A pending pause or stop is cancelled."""
    with transaction.atomic():
        lock_person(user)
        row = _locked(user, generation)
        if row.state == State.DONE:
            raise NotNow("The story is finished. Ask for more words to continue it.")
        if row.state in (State.PAUSED, State.STOPPED, State.FAILED):
            if row.story.head is None or row.story.head.generation_id != row.pk:
                raise NotNow("The story has been continued from here in another way.")
            if row.story.generations.live().exclude(pk=row.pk).exists():
                raise NotNow("This story is being written already.")
            check_limits(user)
            row.state, row.notice, row.failures, row.finished = State.QUEUED, "", 0, None
        row.wish = Wish.NONE
        return _tell(row)


def _locked(user: User, generation: Generation) -> Generation:
    """Lock the story first, as every operation does: a save must not take a log for complete while it is being resumed."""
    story = lock_story(user, generation.story_id)
    try:
        row = lock_generation(generation.pk)
    except Generation.DoesNotExist:
        raise Missing from None
    row.story = story
    return row


def _tell(row: Generation) -> Generation:
    row.save(update_fields=["state", "wish", "notice", "failures", "finished"])
    transaction.on_commit(lambda: call_narrators(row.pk))
    transaction.on_commit(lambda: call_readers(row.pk))
    return row
