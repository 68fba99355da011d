"""The editors' desk: the list of work, and the pages for reading and judging."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from training.common.rubric import CATCH_ALLS, NEGATIVE, POSITIVE, PRINCIPLES
from writer.accounts.http import admins_only, editors_only, person
from writer.accounts.models import User
from writer.editorial.models import AXES, Act, Mark, Reading, ReadingState, RubricSheet, SkipReason, Vote, Why
from writer.editorial.operations.freeze import open_story
from writer.editorial.operations.next_pair import disagreements, next_disagreement, next_pair, waiting_pairs
from writer.editorial.operations.set_gold import set_gold
from writer.editorial.reading import (
    marks_of,
    offered_stories,
    palette,
    reading_for,
    reading_json,
    sides,
    take_for,
    take_json,
)
from writer.editorial.stale import stale_marks, stale_reasons
from writer.editorial.violations import waiting_violations
from writer.refusals import Refused


@editors_only
@require_safe
@never_cache
def desk(request: HttpRequest) -> HttpResponse:
    """editorial/desk.html with what waits: `pairs`, `disputed`, `stale`, `violations` (counts), `offered` (stories), `judged` (own votes)."""
    user = person(request)
    judged = Vote.objects.filter(by=user, undone=None, reading__isnull=False).select_related("reading", "pair__brief")
    context = {
        "pairs": waiting_pairs(user).count(),
        "begun": Reading.objects.filter(editor=user, state=ReadingState.OPEN, settling=False).exists(),
        "disputed": disagreements().count(),
        "stale": stale_marks().count() + stale_reasons().count(),
        "violations": waiting_violations(user).count(),
        "offered": offered_stories(user)[:100],
        "judged": judged.order_by("-created")[:10],
        "marks": Mark.objects.filter(by=user, removed=None).count(),
    }
    return render(request, "editorial/desk.html", context)


@editors_only
@require_POST
def desk_next(request: HttpRequest) -> HttpResponse:
    """Redirect to the next pair or, with `settle`, to the next pair about which editors disagree."""
    settle = "settle" in request.POST
    try:
        found = (next_disagreement if settle else next_pair)(by=person(request))
    except Refused as refusal:
        messages.error(request, refusal.detail)
        return redirect("desk")
    if found is None:
        messages.info(request, "There is nothing to settle." if settle else "No pair is waiting for you at the moment.")
        return redirect("desk")
    return redirect("pair", found.pk)


@editors_only
@require_safe
@never_cache
def pair(request: HttpRequest, reading_id: UUID) -> HttpResponse:
    """editorial/pair.html with `reading` and `data`, what the page's script reads from json_script "pair".

    The page does not reveal the authors: it has no footer and no model, and differs only in the texts.
    """
    user = person(request)
    reading = reading_for(user, reading_id)
    data = {
        "user": user.pk,
        "reading": reading_json(reading),
        "palette": palette(),
        "axes": AXES,
        "skip": [choice for choice in SkipReason.choices if choice[0]],
        "why": Why.choices,
        "opinions": _opinions(reading) if reading.settling else [],
        "judged": _judged(user, reading),
        "urls": {"desk": reverse("desk"), "here": request.path},
    }
    return render(request, "editorial/pair.html", {"reading": reading, "data": data})


def _judged(user: User, reading: Reading) -> dict[str, Any] | None:
    """The act that closed this reading, to be shown and undone when the page is opened again."""
    kinds = ("vote", "skip", "settle")
    found = Act.objects.filter(editor=user, undone=None, kind__in=kinds, asked__reading=str(reading.pk)).last()
    return {"op_id": found.op_id, "act": found.asked} if found else None


def _opinions(reading: Reading) -> list[dict[str, Any]]:
    """The votes without names, converted to the sides of this screen."""
    votes = Vote.objects.filter(pair=reading.pair, undone=None, source="editor").prefetch_related("reasons")
    turn = -1 if reading.swapped else 1
    return [
        {
            "preference": turn * vote.preference,
            "reason": vote.reason,
            "principles": [version.name for version in vote.reasons.all()],
        }
        for vote in votes.order_by("created")
    ]


@editors_only
@require_POST
def pair_reveal(request: HttpRequest, reading_id: UUID) -> HttpResponse:
    """Reveal the authors, after this editor's vote is stored. From then on the vote cannot be changed."""
    reading = reading_for(person(request), reading_id)
    if reading.state != ReadingState.VOTED:
        messages.error(request, "Vote first. The authors are shown afterwards.")
        return redirect("pair", reading.pk)
    if reading.revealed is None:
        Reading.objects.filter(pk=reading.pk).update(revealed=timezone.now())
    return redirect("pair_result", reading.pk)


@editors_only
@require_safe
@never_cache
def pair_result(request: HttpRequest, reading_id: UUID) -> HttpResponse:
    """editorial/pair_result.html with `left` and `right`, and `preference` as on this screen; after the authors were revealed."""
    reading = reading_for(person(request), reading_id)
    if reading.revealed is None:
        raise Http404
    left, right = sides(reading)
    vote = Vote.objects.filter(reading=reading, undone=None).prefetch_related("reasons").first()
    preference = 0 if vote is None else (-1 if reading.swapped else 1) * vote.preference
    context = {
        "reading": reading,
        "pair": reading.pair,
        "left": left,
        "right": right,
        "vote": vote,
        "preference": preference,
    }
    return render(request, "editorial/pair_result.html", context)


@admins_only
@require_POST
def pair_gold(request: HttpRequest, reading_id: UUID) -> HttpResponse:
    """Posts `gold` (yes or no) and `because`, after the authors were revealed."""
    try:
        gold = request.POST.get("gold") == "yes"
        set_gold(by=person(request), reading_id=reading_id, gold=gold, because=request.POST.get("because", ""))
    except Refused as refusal:
        messages.error(request, refusal.detail)
    return redirect("pair_result", reading_id)


@editors_only
@require_POST
def offered_open(request: HttpRequest, story_id: UUID) -> HttpResponse:
    try:
        return redirect("marking", open_story(by=person(request), story_id=story_id).pk)
    except Refused as refusal:
        messages.error(request, refusal.detail)
        return redirect("desk")


@editors_only
@require_safe
@never_cache
def marking(request: HttpRequest, take_id: int) -> HttpResponse:
    """editorial/marking.html with `take` and `data`, what the page's script reads from json_script "marking"."""
    user = person(request)
    take = take_for(user, take_id)
    data = {
        "user": user.pk,
        "take": take_json(take),
        "marks": marks_of(user, take),
        "palette": palette(),
        "urls": {"desk": reverse("desk"), "here": request.path, "rubric": reverse("rubric", args=[take.pk])},
    }
    return render(request, "editorial/marking.html", {"take": take, "data": data})


@editors_only
@require_safe
@never_cache
def rubric(request: HttpRequest, take_id: int) -> HttpResponse:
    """editorial/rubric.html with `take`, `groups` ((title, dimensions)), `principles` and `data` for json_script "rubric"."""
    user = person(request)
    take = take_for(user, take_id)
    data = {"user": user.pk, "take": take.pk, "sheet": _sheet(user, take.pk), "urls": {"here": request.path}}
    groups = (("What it achieves", POSITIVE), ("What harms it", NEGATIVE), ("What none of these holds", CATCH_ALLS))
    context = {"take": take, "groups": groups, "principles": PRINCIPLES, "data": data}
    return render(request, "editorial/rubric.html", context)


def _sheet(user: User, take_id: int) -> dict[str, Any] | None:
    found = RubricSheet.objects.filter(take=take_id, by=user, removed=None).first()
    return None if found is None else found.sheet
