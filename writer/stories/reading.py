"""Reads a story consistently.

One query reads the story, its head and its generation. The log only grows, and the row contains its length at that moment
(`last_seq`), so the chunks up to it, read afterwards, are the text at that moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.postgres.aggregates import StringAgg

from writer.accounts.models import User
from writer.refusals import Missing
from writer.stories.log import ChunkMessage, join, merged
from writer.stories.models import Channel, Chunk, Generation, Revision, State, Story
from writer.stories.text import Origins, count_words, generated, sha256


def story_for(user: User, story_id: UUID) -> Story:
    """The story of this person. Raises `Missing`."""
    found = Story.objects.for_user(user).select_related("head__generation__model").filter(pk=story_id).first()
    if found is None:
        raise Missing
    return found


def generation_for(user: User, generation_id: UUID) -> Generation:
    found = Generation.objects.for_user(user).select_related("model").filter(pk=generation_id).first()
    if found is None:
        raise Missing
    return found


def log_text(generation: Generation, *, channel: Channel = Channel.STORY) -> str:
    """The log of one channel at the time when `generation` was read."""
    chunks = Chunk.objects.filter(generation=generation, channel=channel, seq__lte=generation.last_seq)
    found = chunks.aggregate(log=StringAgg("text", delimiter="", order_by="seq"))
    return found["log"] or ""


@dataclass(frozen=True)
class Whole:
    """The text of a story at one moment."""

    head: Revision
    generation: Generation | None
    log: str
    """The complete log of the head's generation."""

    @property
    def tail(self) -> str:
        return self.log[self.head.absorbed :]

    @property
    def text(self) -> str:
        return join(self.head.text, self.tail)

    @property
    def origins(self) -> Origins:
        if self.generation is None:
            return list(self.head.origins)
        tail = generated(self.tail, self.generation.pk)
        if self.tail.strip() and self.head.text.strip() and not self.tail.startswith("\n"):
            tail = tail[1:]  # it continues the last paragraph of the head
        return [*self.head.origins, *tail]


def whole(story: Story) -> Whole:
    assert story.head is not None
    generation = story.head.generation
    return Whole(story.head, generation, log_text(generation) if generation else "")


def place_in_queue(generation: Generation) -> int:
    """The place in the queue, from 1; 0 if it is not waiting."""
    if generation.state != State.QUEUED:
        return 0
    return 1 + Generation.objects.filter(state=State.QUEUED, created__lt=generation.created).count()


def runs_after(generation_id: UUID, after: int, words: int, *, until: int = 2**31 - 1) -> list[ChunkMessage]:
    """The chunks after `after` as messages of the reader's protocol, with consecutive chunks of a channel merged."""
    rows = Chunk.objects.filter(generation_id=generation_id, seq__gt=after, seq__lte=until).order_by("seq")
    return merged(rows.values_list("seq", "channel", "start", "text"), words)


@dataclass(frozen=True)
class Line:
    """A story in a list."""

    id: UUID
    title: str
    target_words: int
    words: int
    state: str
    state_label: str
    created: datetime
    updated: datetime


def story_lines(user: User, *, limit: int = 1000, offset: int = 0) -> list[Line]:
    """This person's stories, the latest first. Texts are read only if no generation has counted their words."""
    stories = Story.objects.for_user(user).select_related("head__generation")
    page = list(stories.defer("premise", "head__text", "head__origins")[offset : offset + limit])
    uncounted = [story.head.pk for story in page if story.head and story.head.generation_id is None]
    counts = {pk: count_words(text) for pk, text in Revision.objects.filter(pk__in=uncounted).values_list("pk", "text")}
    lines = []
    for story in page:
        assert story.head is not None
        generation = story.head.generation
        lines.append(
            Line(
                id=story.pk,
                title=story.title,
                target_words=story.target_words,
                words=generation.words if generation else counts.get(story.head.pk, 0),
                state=generation.state if generation else "",
                state_label=generation.get_state_display() if generation else "Not begun",
                created=story.created,
                updated=story.updated,
            )
        )
    return lines


def generation_json(generation: Generation) -> dict[str, Any]:
    return {
        "id": str(generation.pk),
        "story": str(generation.story_id),
        "base": str(generation.base_id),
        "state": generation.state,
        "wish": generation.wish,
        "ending": generation.ending,
        "notice": generation.notice,
        "place": place_in_queue(generation),
        "words": generation.words,
        "target": generation.target_words,
        "last_seq": generation.last_seq,
        "story_chars": generation.story_chars,
        "thinking_chars": generation.thinking_chars,
        "model": generation.model.name,
        "sampling": generation.sampling,
        "attempt": generation.attempt,
        "created": generation.created.isoformat(),
        "started": generation.started.isoformat() if generation.started else None,
        "finished": generation.finished.isoformat() if generation.finished else None,
    }


def story_json(story: Story) -> dict[str, Any]:
    now = whole(story)
    text = now.text
    return {
        "id": str(story.pk),
        "title": story.title,
        "premise": story.premise,
        "target_words": story.target_words,
        "sampling": story.sampling,
        "revision": str(now.head.pk),
        "absorbed": now.head.absorbed,
        "text": now.head.text,
        "sha256": sha256(now.head.text),
        "full_text": text,
        "full_sha256": sha256(text),
        "words": count_words(text),
        "origins": now.origins,
        "created": story.created.isoformat(),
        "updated": story.updated.isoformat(),
        "generation": generation_json(now.generation) if now.generation else None,
    }
