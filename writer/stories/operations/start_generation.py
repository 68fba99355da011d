from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Count, F, Q, Sum
from django.db.models.functions import Greatest
from django.utils import timezone

from training.common.sampling import Sampling
from writer.accounts.models import User
from writer.refusals import NotNow, Refused, TooMuch
from writer.stories.checks import can_think, checked_key, checked_sampling, checked_target
from writer.stories.models import TEXT_CHARS, Generation, ModelVersion, Revision, State, Story
from writer.stories.operations.deploy import in_service
from writer.stories.operations.locking import lock_person, lock_story
from writer.stories.reading import whole
from writer.stories.text import Origins, count_words
from writer.stories.wake import call_narrators, call_readers


def start_generation(
    *,
    user: User,
    story_id: UUID,
    target_words: int | None = None,
    sampling: Sampling | None = None,
    idempotency_key: str | None = None,
) -> Generation:
    """Request the story, or the rest of it: the current text becomes the base, which a narrator continues. Without `sampling` it is sampled
    as the story says.

    A second request with the same key returns the generation that the first one made.
    """
    if idempotency_key is not None:
        idempotency_key = checked_key(idempotency_key, "idempotency_key")
    with transaction.atomic():
        lock_person(user)
        story = lock_story(user, story_id)
        if idempotency_key is not None:
            before = story.generations.select_related("model").filter(idempotency_key=idempotency_key).first()
            if before is not None:
                return before
        if story.generations.live().exists():
            raise NotNow("This story is being written already. Stop it first, or wait until it is finished.")
        model = in_service()
        target = checked_target(story.target_words if target_words is None else target_words)
        now = whole(story)
        text = now.text
        words = count_words(text)
        if target <= words:
            raise Refused(
                f"The story has {words:,} words already. Ask for more words to continue it.", field="target_words"
            )
        if len(text) > TEXT_CHARS:
            raise Refused("The story is too long to be continued.")
        check_limits(user, target - words)

        generation = begin(
            story=story,
            user=user,
            model=model,
            target=target,
            parent=now.head,
            text=text,
            origins=now.origins,
            sampling=Sampling(**story.sampling) if sampling is None else sampling,
            idempotency_key=idempotency_key,
        )
        previous = now.generation
        if previous is not None:
            transaction.on_commit(lambda: call_readers(previous.pk))
    return generation


def begin(
    *,
    story: Story,
    user: User,
    model: ModelVersion,
    target: int,
    parent: Revision | None,
    text: str,
    origins: Origins,
    sampling: Sampling,
    idempotency_key: str | None = None,
) -> Generation:
    """A generation that continues `text`, which becomes the new head of the locked story. Raises Refused if it is to think and cannot."""
    if sampling.thinking and not can_think(model.tokenizer):
        raise Refused(f"{model.name} cannot think before it writes. Leave thinking out.", field="thinking")
    base = Revision(story=story, parent=parent, text=text, origins=origins, author=user)
    words = count_words(text)
    generation = Generation.objects.create(
        story=story,
        base_id=base.pk,  # the constraint is checked at the end of the transaction
        model=model,
        target_words=target,
        sampling=checked_sampling(sampling).stored(),
        idempotency_key=idempotency_key,
        words=words,
        base_words=words,
    )
    base.generation = generation
    base.save(force_insert=True)
    story.head = base
    story.target_words = target
    story.save(update_fields=["head", "target_words", "updated"])
    transaction.on_commit(lambda: call_narrators(generation.pk))
    return generation


def check_limits(user: User, words: int = 0, *, blind: bool = False) -> None:
    """Raise a refusal if this person has reached the limit of stories that wait or are being written, or of words.

    Takes for blind pairs count as words, but not as stories.
    """
    waiting = Q(state__in=(State.QUEUED, State.RUNNING))
    today = Q(created__gte=timezone.now() - timedelta(days=1))
    stopped = Q(state=State.STOPPED)  # of a stopped one, only what it wrote counts
    asked = Generation.objects.filter(waiting | today, story__owner=user).aggregate(
        writing=Count("pk", filter=waiting & Q(story__blind=False)),
        whole=Sum(F("target_words") - F("base_words"), default=0, filter=today & ~stopped),
        part=Sum(Greatest(F("words"), F("base_words")) - F("base_words"), default=0, filter=today & stopped),
    )
    if asked["writing"] >= settings.STORIES_AT_ONCE and not blind:
        raise TooMuch(
            f"You have {asked['writing']} stories waiting or being written, and {settings.STORIES_AT_ONCE} is the most at "
            "once. Wait until one is finished, or stop one."
        )
    left = settings.WORDS_PER_DAY - asked["whole"] - asked["part"]
    if words > left:
        raise TooMuch(
            f"The limit is {settings.WORDS_PER_DAY:,} words in 24 hours. You have {max(left, 0):,} left; "
            f"this story needs {words:,}.",
            field="target_words",
        )
