"""A text is put before the editors as it stands now: it becomes a take, which never changes."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from writer.accounts.models import User
from writer.editorial.messages import completion_messages, digest, prompt_messages
from writer.editorial.models import Brief, Take
from writer.editorial.reading import offered_stories
from writer.refusals import Missing, NotNow
from writer.stories.models import Generation, Story
from writer.stories.reading import whole
from writer.stories.text import Origins, count_words, paragraphs

LIVE = ("queued", "running")


def brief_of(story: Story | None, *, title: str, premise: str, target: int, given: str = "") -> Brief:
    """The brief with these words; one for each wording that a story had."""
    fields = {"title": title, "premise": premise, "target_words": target, "given": given}
    found = digest(prompt_messages(title=title, premise=premise, target=target, given=given))
    if story is None:
        return Brief.objects.create(story=None, sha256=found, **fields)
    return Brief.objects.get_or_create(story=story, sha256=found, defaults=fields)[0]


def take_of(brief: Brief, text: str, *, origins: Origins | None = None, generation: Generation | None = None) -> Take:
    """The take with this text. Paragraphs are parted by one blank line, so that every reader counts the same offsets."""
    text = "\n\n".join(paragraphs(text))
    return Take.objects.get_or_create(
        brief=brief,
        sha256=digest(completion_messages(text)),
        defaults={
            "text": text,
            "words": count_words(text),
            "origins": origins or [],
            "generation": generation,
            "model": generation.model if generation else None,
        },
    )[0]


def open_story(*, by: User, story_id: UUID) -> Take:
    """The offered story as it stands now, for this editor to mark."""
    with transaction.atomic():
        story = offered_stories(by).select_for_update(of=("self",)).filter(pk=story_id).first()
        if story is None:
            raise Missing
        now = whole(story)
        if now.generation is not None and now.generation.state in LIVE:
            raise NotNow("The model is still writing this story. Come back when it is finished.")
        if not now.text.strip():
            raise NotNow("There is no text yet.")
        brief = brief_of(story, title=story.title, premise=story.premise, target=story.target_words)
        return take_of(brief, now.text, origins=now.origins)
