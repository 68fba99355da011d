"""Requests a pair for a prompt and two model versions. The pair is made when both texts are finished."""

from __future__ import annotations

import secrets

from django.db import transaction
from django.db.models import Q

from training.common.sampling import Sampling
from writer.accounts.models import User
from writer.editorial.models import Asking, Pair, PairSource
from writer.editorial.operations.freeze import brief_of, take_of
from writer.refusals import Refused
from writer.stories.checks import checked_premise, checked_target, checked_title
from writer.stories.models import LIVE_STATES, Generation, ModelVersion, State
from writer.stories.operations.takes import blind_take
from writer.stories.reading import log_text

MOST_PAIRS, MOST_OVERLAP, MOST_PRIORITY = 10, 20, 100


def ask_pairs(
    *,
    by: User,
    title: str,
    premise: str,
    target_words: int,
    versions: tuple[int, int],
    pairs: int = 1,
    overlap: int = 3,
    priority: int = 0,
) -> list[Asking]:
    """Request a pair. Both versions may be the same; then they differ in their seeds."""
    title, premise, target = checked_title(title), checked_premise(premise), checked_target(target_words)
    for name, value, least, most in (
        ("pairs", pairs, 1, MOST_PAIRS),
        ("overlap", overlap, 1, MOST_OVERLAP),
        ("priority", priority, -MOST_PRIORITY, MOST_PRIORITY),
    ):
        if not least <= value <= most:
            raise Refused(f"The number must be from {least} to {most}.", field=name)
    found = ModelVersion.objects.in_bulk(versions)
    for name, version in zip(("first", "second"), versions):
        if version not in found:
            raise Refused("Choose a model version.", field=name)
    with transaction.atomic():
        brief = brief_of(None, title=title, premise=premise, target=target)
        return [
            Asking.objects.create(
                brief=brief,
                by=by,
                overlap=overlap,
                priority=priority,
                **{
                    side: blind_take(
                        user=by,
                        title=title,
                        premise=premise,
                        target_words=target,
                        model=found[version],
                        sampling=Sampling(seed=secrets.randbelow(2**31)),
                    )
                    for side, version in zip(("first", "second"), versions)
                },
            )
            for _ in range(pairs)
        ]


def collect_askings() -> None:
    """Make the pairs whose takes are both finished. It is called before each search for a pair, and is fast if there are none."""
    waiting = Q(first__state__in=LIVE_STATES) | Q(second__state__in=LIVE_STATES)
    ready = Asking.objects.filter(pair=None, failed="").exclude(waiting).values_list("pk", flat=True)
    for pk in list(ready[:50]):
        with transaction.atomic():
            asking = (
                Asking.objects.select_for_update(of=("self",), skip_locked=True)
                .select_related("brief", "first__model", "second__model")
                .filter(pk=pk, pair=None, failed="")
                .first()
            )
            if asking is not None:
                _collect(asking)


def _collect(asking: Asking) -> None:
    problem = _problem(asking.first) or _problem(asking.second)
    if not problem:
        assert asking.first is not None
        assert asking.second is not None
        first, second = (take_of(asking.brief, log_text(one), generation=one) for one in (asking.first, asking.second))
        if first == second:
            problem = "Both takes are the same text."
        else:
            # Two requests for the same brief may have produced the same two texts.
            asking.pair, _ = Pair.objects.get_or_create(
                first=first,
                second=second,
                defaults={
                    "brief": asking.brief,
                    "source": PairSource.ASKED,
                    "overlap": asking.overlap,
                    "priority": asking.priority,
                },
            )
    asking.failed = problem
    asking.save(update_fields=["pair", "failed"])


def _problem(generation: Generation | None) -> str:
    if generation is None:
        return "A take was deleted."
    if generation.state != State.DONE:
        return f"A take was not finished: {generation.notice or generation.get_state_display()}"
    return "" if generation.story_chars else "A take is empty."
