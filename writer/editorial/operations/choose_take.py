"""A writer's choice of a take. It is stored as a judgement that is not blind, with the writer as its source."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from writer.accounts.models import User
from writer.editorial.models import Brief, Pair, PairSource, Vote, VoteSource
from writer.editorial.operations.freeze import brief_of, take_of
from writer.stories.operations.takes import Take, keep_take, takes_of
from writer.stories.reading import story_for


def choose_take(*, by: User, story_id: UUID, generation_id: UUID, over: UUID | None = None) -> None:
    """Choose the take; `over` is the one that it was compared with."""
    with transaction.atomic():
        kept = keep_take(user=by, story_id=story_id, generation_id=generation_id)
        story = story_for(by, story_id)
        other = next((take for take in takes_of(story) if take.generation.pk == over), None)
        if other is None or other.generation.pk == generation_id:
            return
        given = kept.generation.base.text
        brief = brief_of(
            story, title=story.title, premise=story.premise, target=kept.generation.target_words, given=given
        )
        record_choice(by=by, brief=brief, kept=written(kept), refused=written(other), takes=(kept, other))


def written(take: Take) -> str:
    """The model's text, without the text before it and the writer's later changes."""
    return take.whole.log


def record_choice(*, by: User, brief: Brief, kept: str, refused: str, takes: tuple[Take, Take]) -> Pair | None:
    """Store the preference of the writer for one of two texts. It replaces an earlier choice."""
    if not kept.strip() or not refused.strip():
        return None
    chosen, other = (take_of(brief, text, generation=take.generation) for text, take in zip((kept, refused), takes))
    if chosen == other:
        return None
    first, second = sorted((chosen, other), key=lambda take: take.pk)
    pair, _ = Pair.objects.get_or_create(
        first=first, second=second, defaults={"brief": brief, "source": PairSource.WRITER, "wanted": False}
    )
    Vote.objects.filter(pair=pair, by=by, undone=None).update(undone=timezone.now())
    preference = -1 if chosen == first else 1
    Vote.objects.create(pair=pair, by=by, source=VoteSource.WRITER, preference=preference)
    return pair
