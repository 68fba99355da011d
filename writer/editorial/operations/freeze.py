"""Freezes a text for the editors: it becomes a take, which never changes."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

from django.db import transaction

from training.common.text import Message
from writer.accounts.models import User
from writer.editorial.messages import completion_messages, digest, prompt_messages
from writer.editorial.models import Brief, Sitting, Take
from writer.editorial.reading import offered_stories
from writer.refusals import Missing, NotNow
from writer.stories.models import Generation, Story
from writer.stories.reading import whole
from writer.stories.text import Origins, count_words, paragraphs

LIVE = ("queued", "running")


def brief_of(story: Story | None, *, title: str, premise: str, target: int, given: str = "") -> Brief:
    """The brief with this wording; a story has one for each of its wordings."""
    fields = {"title": title, "premise": premise, "target_words": target, "given": given}
    found = digest(prompt_messages(title=title, premise=premise, target=target, given=given))
    if story is None:
        return Brief.objects.create(story=None, sha256=found, **fields)
    return Brief.objects.get_or_create(story=story, sha256=found, defaults=fields)[0]


def brief_asked(prompt: list[Message], by: User | None = None) -> Brief:
    """The brief with these messages, which belongs to no story; all texts on them share it."""
    sha256 = digest(prompt)
    found = Brief.objects.filter(story=None, sha256=sha256, prompt__isnull=False).first()
    if found is None:
        premise = prompt[-1]["content"][:2000]
        found = Brief.objects.create(premise=premise, prompt=prompt, sha256=sha256, asked_by=by)
    return found


def take_of(brief: Brief, text: str, *, origins: Origins | None = None, generation: Generation | None = None) -> Take:
    """The take with this text. Paragraphs are separated by one blank line, so that all offsets agree."""
    blocks = paragraphs(text)
    text = "\n\n".join(blocks)
    return Take.objects.get_or_create(
        brief=brief,
        sha256=digest(completion_messages(text)),
        defaults={
            "text": text,
            "words": count_words(text),
            "blocks": len(blocks),
            "origins": origins or [],
            "words_by": _words_by(text, origins or [], generation),
            "generation": generation,
            "model": generation.model if generation else None,
        },
    )[0]


def _words_by(text: str, origins: Origins, generation: Generation | None) -> dict[str, int]:
    """Words by model version. A paragraph that a person changed still counts for the version that wrote it first."""
    if generation is not None:
        return {str(generation.model_id): count_words(text)}
    wrote = [origin.get("generation") or origin.get("from") for origin in origins]
    models = {
        str(pk): model
        for pk, model in Generation.objects.filter(pk__in={pk for pk in wrote if pk}).values_list("pk", "model_id")
    }
    words: Counter[str] = Counter()
    for block, source in zip(paragraphs(text), wrote):
        if source in models:
            words[str(models[source])] += count_words(block)
    return dict(words)


def open_story(*, by: User, story_id: UUID) -> Take:
    """Freeze the offered story, for this editor to mark."""
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
        take = take_of(brief, now.text, origins=now.origins)
        Sitting.objects.get_or_create(take=take, editor=by)
        return take
