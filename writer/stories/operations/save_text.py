from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db import transaction

from writer.accounts.models import User
from writer.refusals import Refused
from writer.stories.checks import checked_key, checked_story
from writer.stories.log import ends_paragraph, join
from writer.stories.models import Generation, Revision, State
from writer.stories.operations.locking import lock_story
from writer.stories.reading import log_text
from writer.stories.text import attribute, count_words, generated, sha256
from writer.stories.wake import call_readers


class Conflict(Exception):
    """Another window saved first. Both texts are kept, and the writer decides."""

    def __init__(self, theirs: Revision, yours: str) -> None:
        super().__init__("The story was changed in another window since this text was read.")
        self.theirs = theirs
        self.yours = yours


@dataclass(frozen=True)
class Saved:
    revision: UUID
    absorbed: int
    words: int
    """Words of the whole story, including what the model has written after the saved text."""
    sha256: str
    """Origins of the paragraphs of the saved text."""


def save_text(*, user: User, story_id: UUID, base_revision: UUID, absorbed: int, text: str, op_id: str) -> Saved:
    """Store the writer's text, which includes the log up to `absorbed`.

    A second call with the same `op_id` returns the stored result. Raises `Conflict` if `base_revision` is no longer the head.
    """
    text, op_id = checked_story(text), checked_key(op_id, "op_id")
    with transaction.atomic():
        story = lock_story(user, story_id)
        before = Revision.objects.filter(story=story, op_id=op_id).first()
        if before is not None:
            if (before.text, before.absorbed) != (text, absorbed):
                raise Refused("This op_id belongs to another save. Use a new one for each save.", field="op_id")
            generation = _generation(before)
            return _saved(before, log_text(generation) if generation else "")
        assert story.head is not None
        head = story.head
        if head.pk != base_revision:
            raise Conflict(head, text)
        # The state is read before the log: if it is not running now, the log cannot grow while the story is locked.
        generation = _generation(head)
        log = log_text(generation) if generation else ""
        _check_absorbed(absorbed, head.absorbed, log, resting=generation is None or generation.state in _RESTING)
        taken = log[head.absorbed : absorbed]
        origins = head.origins if generation is None else head.origins + generated(taken, generation.pk)
        saved = Revision.objects.create(
            story=story,
            parent=head,
            text=text,
            generation=generation,
            absorbed=absorbed,
            origins=attribute(join(head.text, taken), origins, text, user.pk),
            author=user,
            op_id=op_id,
        )
        story.head = saved
        story.save(update_fields=["head", "updated"])
        answer = _saved(saved, log)
        if generation is not None:
            generation_id = generation.pk
            # During writing the narrator counts the words; it sees the new head at its next tick.
            Generation.objects.filter(pk=generation_id, state__in=_RESTING).update(words=answer.words)
            transaction.on_commit(lambda: call_readers(generation_id))
        return answer


_RESTING = (State.PAUSED, State.STOPPED, State.FAILED, State.DONE)


def _generation(revision: Revision) -> Generation | None:
    return Generation.objects.get(pk=revision.generation_id) if revision.generation_id else None


def _check_absorbed(absorbed: int, least: int, log: str, *, resting: bool) -> None:
    if not least <= absorbed <= len(log):
        raise Refused(
            f"absorbed must be between {least} (already in the saved text) and {len(log)} (the length of the log).",
            field="absorbed",
        )
    if absorbed == least or ends_paragraph(log, absorbed) or (resting and absorbed == len(log)):
        return
    raise Refused("absorbed must be the end of a paragraph; the last one is still being written.", field="absorbed")


def _saved(revision: Revision, log: str) -> Saved:
    words = count_words(join(revision.text, log[revision.absorbed :]))
    return Saved(revision.pk, revision.absorbed, words, sha256(revision.text))
