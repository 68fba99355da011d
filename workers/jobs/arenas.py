"""Results of an arena: wins, the sequential test, and ratings with intervals. Recomputed after every vote."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.db.models import Count, Q, Sum

from training.evaluate.ratings import ELO, Comparison, connected, rate
from training.evaluate.sequential import Rule, decide, evidence
from writer.accounts.audit import record
from writer.editorial.models import Pair
from writer.studio.models import Arena, ArenaState, ArenaTake
from writer.studio.operations.open_arena import collect, end_arena, pairs_of

RESAMPLES = 500
PRIOR = 0.05
"""Precision of the prior of the ratings: normal around 0, with a standard deviation of 1 / sqrt(2 * 0.05) = 3.2 log-odds, or 550 Elo.
It keeps resampled ratings finite when a contestant wins every pair."""
UNRATED = "No ratings yet: a contestant, or a group of them, has won nothing or lost nothing against the others so far."


def advance() -> None:
    """For every open arena, make the pairs whose stories are finished, and count the votes."""
    for pk in Arena.objects.filter(state__in=(ArenaState.WRITING, ArenaState.OPEN)).values_list("pk", flat=True):
        collect(pk)
        count(pk)


def rule_of(arena: Arena) -> Rule:
    return Rule(confidence=arena.confidence, share=arena.share, most=arena.most)


def count(arena_id: int) -> None:
    """Store the result if votes have changed since the last count; end the arena when it is decided."""
    with transaction.atomic():
        arena = Arena.objects.select_for_update().get(pk=arena_id)
        if arena.state not in (ArenaState.WRITING, ArenaState.OPEN):
            return
        owners = dict(
            ArenaTake.objects.filter(contestant__arena=arena)
            .exclude(take=None)
            .values_list("take_id", "contestant__place")
        )
        pairs = judged(arena)
        cast = sum(pair.cast for pair in pairs)  # type: ignore[attr-defined]
        writing = ArenaTake.objects.filter(contestant__arena=arena, take=None, failed="").exists()
        left = pairs_of(arena).filter(wanted=True).count()
        before = arena.result or {}
        seen = [cast, left, writing, sum(abs(pair.total or 0) for pair in pairs)]  # type: ignore[attr-defined]
        if before.get("seen") == seen:
            return
        arena.result = result_of(arena, pairs, owners) | {"seen": seen, "left": left, "writing": writing}
        over = not writing and not left
        decision = arena.result["decision"]
        if decision == "open" and over:
            decision = arena.result["decision"] = "not better"
        if decision != "open":
            end_arena(arena, ArenaState.DECIDED)
            record(
                None,
                "arena.decide",
                f"arena {arena.pk}",
                decision=decision,
                wins=arena.result["wins"],
                losses=arena.result["losses"],
            )
        else:
            arena.save(update_fields=["result"])


def judged(arena: Arena) -> list[Pair]:
    """Pairs with valid votes. `total` is the sum of their preferences; below 0 the first text is better."""
    in_force = Q(all_votes__undone=None)
    found = pairs_of(arena).select_related("first", "second").order_by("pk")
    cast, total = Count("all_votes", filter=in_force), Sum("all_votes__preference", filter=in_force)
    return list(found.annotate(cast=cast, total=total).filter(cast__gt=0))


def result_of(arena: Arena, pairs: Iterable[Pair], owners: dict[int, int]) -> dict[str, Any]:
    """The result as JSON. Contestant 0 is the candidate, 1 the champion."""
    comparisons = []
    wins = losses = ties = 0
    for pair in pairs:
        first, second = owners[pair.first_id], owners[pair.second_id]
        outcome = (pair.total < 0) - (pair.total > 0)  # type: ignore[attr-defined]
        longer = math.log(max(pair.first.words, 1) / max(pair.second.words, 1))
        comparisons.append(Comparison(first, second, outcome, longer, pair.brief_id))
        if {first, second} == {0, 1}:
            for_candidate = outcome if first == 0 else -outcome
            wins, losses, ties = wins + (for_candidate > 0), losses + (for_candidate < 0), ties + (for_candidate == 0)
    rule = rule_of(arena)
    found: dict[str, Any] = {
        "wins": wins,
        "losses": losses,
        "ties": ties,
        "evidence": evidence(wins, losses, rule.share),
        "needed": rule.needed,
        "decision": decide(wins, losses, rule),
    }
    size = arena.contestants.count()
    if not connected(size, comparisons):
        found["unrated"] = UNRATED
    else:
        ratings = rate(size, comparisons, resamples=RESAMPLES, prior=PRIOR)
        even = rate(size, comparisons, with_length=True, prior=PRIOR) if len(comparisons) >= 10 else None
        found["ratings"] = [
            {
                "place": place,
                "elo": 1000 + ELO * ratings.values[place],
                "low": 1000 + ELO * ratings.low[place],
                "high": 1000 + ELO * ratings.high[place],
                "equal_length": None if even is None else 1000 + ELO * even.values[place],
            }
            for place in range(size)
        ]
    return found
