"""Blind comparisons of whole stories: opened with a rule, written, read by editors, and decided by the worker."""

from __future__ import annotations

import random
from functools import partial

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from training.common.sampling import Sampling
from training.evaluate.prompts import own_prompts
from writer.accounts.audit import record
from writer.accounts.models import User
from writer.editorial.models import Brief, Pair, PairSource, Take
from writer.editorial.operations.freeze import brief_of, take_of
from writer.refusals import Missing, NotNow, Refused
from writer.stories.checks import checked_target
from writer.stories.models import LIVE_STATES, Generation, ModelVersion, State, Story, Wish
from writer.stories.operations.deploy import in_service
from writer.stories.operations.start_generation import begin
from writer.stories.reading import log_text
from writer.stories.wake import call_narrators
from writer.studio.models import Arena, ArenaState, ArenaTake, Contestant, Reference

LEAST_PROMPTS, MOST_PROMPTS, MOST_CONTESTANTS = 4, 200, 6
PRIORITY = 50
CONFIDENCES = (0.9, 0.95, 0.99)


def open_arena(
    *,
    by: User,
    candidate: int,
    others: tuple[int, ...] = (),
    people: bool = False,
    prompts: int = 40,
    words: int = 1000,
    confidence: float = 0.95,
    share: float = 0.5,
) -> Arena:
    """Open an arena of the candidate against the version in service. `others` and texts by `people` are rated, too."""
    champion = in_service()
    if candidate == champion.pk:
        raise NotNow(f"{champion.name} is in service. Choose another version as the candidate.")
    chosen = ModelVersion.objects.filter(writes=True, retired=None).in_bulk({candidate, *others})
    if candidate not in chosen or len(chosen) != len({candidate, *others}):
        raise Missing
    if not LEAST_PROMPTS <= prompts <= MOST_PROMPTS:
        raise Refused(f"Enter from {LEAST_PROMPTS} to {MOST_PROMPTS} pairs.", field="prompts")
    if confidence not in CONFIDENCES:
        raise Refused("Choose a confidence from the list.", field="confidence")
    if not 0.3 <= share <= 0.7:
        raise Refused("Enter a share from 0.3 to 0.7.", field="share")
    target = checked_target(words)
    versions = [chosen[candidate], champion, *(chosen[pk] for pk in sorted(set(others) - {candidate, champion.pk}))]
    if len(versions) + people > MOST_CONTESTANTS:
        raise Refused(f"At most {MOST_CONTESTANTS} contestants.", field="others")
    with transaction.atomic():
        if Arena.objects.filter(candidate=candidate, state__in=(ArenaState.WRITING, ArenaState.OPEN)).exists():
            raise NotNow("An arena for this version is open already.")
        _not_again(chosen[candidate], champion)
        arena = Arena.objects.create(
            candidate=chosen[candidate],
            champion=champion,
            confidence=confidence,
            share=share,
            most=prompts,
            words=target,
            by=by,
        )
        contestants = [
            Contestant.objects.create(arena=arena, version=version, place=place)
            for place, version in enumerate(versions)
        ]
        briefs, by_people = _briefs(prompts, target, people=people)
        if people:
            contestant = Contestant.objects.create(arena=arena, version=None, place=len(versions))
            ArenaTake.objects.bulk_create(
                ArenaTake(contestant=contestant, brief_id=brief, take=take) for brief, take in by_people.items()
            )
        for number, brief in enumerate(briefs):
            for one in contestants:
                assert one.version is not None
                ArenaTake.objects.create(
                    contestant=one, brief=brief, generation=_write(by, brief, one.version, arena.pk * 1000 + number)
                )
        record(
            by,
            "arena.open",
            f"arena {arena.pk}: {arena.candidate.name} against {champion.name}",
            confidence=confidence,
            share=share,
            most=prompts,
            words=target,
        )
    return arena


def _not_again(candidate: ModelVersion, champion: ModelVersion) -> None:
    """Raise NotNow if there is an arena with votes: repeating it until it decides for the candidate would increase the error rate."""
    for before in Arena.objects.filter(candidate=candidate, champion=champion):
        if before.state == ArenaState.DECIDED or pairs_of(before).filter(votes__gt=0).exists():
            raise NotNow(
                f"Arena {before.pk} between these two has votes already: another one would make an error more likely than the rule "
                "states. Train a better candidate, or overrule the gate with a reason."
            )


def _briefs(number: int, target: int, *, people: bool) -> tuple[list[Brief], dict[int, Take]]:
    """Prompts that no version learned from: those of references by people, and those of the site."""
    by_people = {take.brief_id: take for take in _references(number, target)} if people else {}
    briefs = [take.brief for take in by_people.values()]
    prompts = own_prompts()
    for place in range(number - len(briefs)):
        one = prompts[place % len(prompts)]
        briefs.append(brief_of(None, title=one.title, premise=one.premise, target=target))
    return briefs, by_people


def _references(number: int, target: int) -> list[Take]:
    """References in the order of their hashes, which is a fixed random order; those of about the requested length, if there are enough."""
    found = Reference.objects.select_for_update(of=("self",)).select_related("take__brief").order_by("take__sha256")
    near = list(found.filter(take__words__range=(target // 2, target * 2))[:number])
    chosen = near if len(near) == number else list(found[:number])
    if not chosen:
        raise NotNow("There are no references by people yet. Import some, or leave people out.")
    return [one.take for one in chosen]


def _write(by: User, brief: Brief, version: ModelVersion, seed: int) -> Generation:
    """Start writing a text in a story that no page shows. It does not count towards limits of words."""
    assert brief.target_words is not None
    story = Story.objects.create(
        owner=by, title=brief.title, premise=brief.premise, target_words=brief.target_words, blind=True
    )
    return begin(
        story=story,
        user=by,
        model=version,
        target=brief.target_words,
        parent=None,
        text="",
        origins=[],
        sampling=Sampling(seed=seed % 2**31),
    )


def collect(arena_id: int) -> None:
    """Make the pairs of briefs for which all texts are finished. The first pair opens the arena to editors."""
    with transaction.atomic():
        arena = Arena.objects.select_for_update().get(pk=arena_id)
        if arena.state not in (ArenaState.WRITING, ArenaState.OPEN):
            return
        takes = ArenaTake.objects.filter(contestant__arena=arena).select_related("generation", "brief", "contestant")
        by_brief: dict[int, list[ArenaTake]] = {}
        for one in takes.order_by("brief_id", "contestant__place"):
            by_brief.setdefault(one.brief_id, []).append(one)
        for group in by_brief.values():
            if all(_freeze(one) for one in group):
                _pair_up(arena, [one.take for one in group if one.take is not None])
        if arena.state == ArenaState.WRITING and pairs_of(arena).exists():
            arena.state = ArenaState.OPEN
            arena.save(update_fields=["state"])


def _freeze(one: ArenaTake) -> bool:
    """Whether this contestant has a take for this brief, or has failed."""
    if one.take_id or one.failed:
        return True
    generation = one.generation
    if generation is not None and generation.state in LIVE_STATES:
        return False
    text = log_text(generation) if generation is not None and generation.state == State.DONE else ""
    if text.strip():
        one.take = take_of(one.brief, text, generation=generation)
    else:
        one.failed = "It was not finished." if generation is not None else "It was deleted."
    one.save(update_fields=["take", "failed"])
    return True


def _pair_up(arena: Arena, takes: list[Take]) -> None:
    """Pair the first two contestants, and each further one with one of those before it."""
    chance = random.Random(arena.pk * 100_003 + (takes[0].brief_id if takes else 0))
    for place in range(1, len(takes)):
        first, second = takes[chance.randrange(place)], takes[place]
        if chance.random() < 0.5:
            first, second = second, first
        if first == second or Pair.objects.filter(Q(first=second, second=first)).exists():
            continue
        Pair.objects.get_or_create(
            first=first,
            second=second,
            defaults={"brief_id": first.brief_id, "source": PairSource.ARENA, "overlap": 1, "priority": PRIORITY},
        )


def pairs_of(arena: Arena) -> QuerySet[Pair]:
    """The pairs of an arena."""
    takes = ArenaTake.objects.filter(contestant__arena=arena).exclude(take=None).values("take")
    return Pair.objects.filter(source=PairSource.ARENA, first__in=takes, second__in=takes)


def close_arena(*, by: User, arena_id: int) -> Arena:
    """Close an arena before it is decided."""
    with transaction.atomic():
        arena = Arena.objects.select_for_update().filter(pk=arena_id).first()
        if arena is None:
            raise Missing
        if arena.state not in (ArenaState.WRITING, ArenaState.OPEN):
            raise NotNow("This arena has ended already.")
        end_arena(arena, ArenaState.CLOSED)
        record(by, "arena.close", f"arena {arena.pk}")
    return arena


def end_arena(arena: Arena, state: str) -> None:
    """End an arena: no more editors are needed, and unfinished texts are stopped."""
    arena.state, arena.finished = state, timezone.now()
    arena.save(update_fields=["state", "finished", "result"])
    pairs_of(arena).update(wanted=False)
    unfinished = Generation.objects.filter(
        pk__in=ArenaTake.objects.filter(contestant__arena=arena).values("generation"), state__in=LIVE_STATES
    )
    ids = list(unfinished.values_list("pk", flat=True))
    unfinished.filter(state=State.RUNNING).update(wish=Wish.STOP)
    Generation.objects.filter(pk__in=ids).exclude(state=State.RUNNING).update(
        state=State.STOPPED, finished=timezone.now()
    )
    for pk in ids:
        transaction.on_commit(partial(call_narrators, pk))
