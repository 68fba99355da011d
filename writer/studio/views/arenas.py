"""The pages of arenas: opening, progress and result."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from training.evaluate.sequential import Rule, prospect
from writer.accounts.http import admins_only, person
from writer.refusals import Missing, Refused
from writer.stories.models import ModelVersion
from writer.stories.operations.deploy import in_service_or_none
from writer.studio.models import Arena, Reference
from writer.studio.operations.open_arena import CONFIDENCES, close_arena, open_arena, pairs_of

SHARES = (0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8)
WIDTH, MARGIN = 160, 6
USUAL = {"prompts": "40", "words": "1000", "confidence": "0.95", "share": "0.5", "people": "", "others": []}


@admins_only
@never_cache
def arena_new(request: HttpRequest, version_id: int) -> HttpResponse:
    """studio/arena_new.html with `candidate`, `champion`, `others`, `references`, `typed`, `errors` and the rule's `prospects`."""
    candidate = ModelVersion.objects.filter(pk=version_id, writes=True, retired=None).first()
    if candidate is None:
        raise Http404
    if request.method != "POST":
        return _form(request, candidate, dict(USUAL))
    typed: dict[str, Any] = {
        name: request.POST.get(name, "").strip() for name in ("prompts", "words", "confidence", "share", "people")
    }
    typed["others"] = request.POST.getlist("others")
    try:
        if "look" in request.POST:
            return _form(request, candidate, typed)
        opened = open_arena(
            by=person(request),
            candidate=version_id,
            others=tuple(_whole(one, "others") for one in typed["others"]),
            people=bool(typed["people"]),
            prompts=_whole(typed["prompts"], "prompts"),
            words=_whole(typed["words"], "words"),
            confidence=_share(typed["confidence"], "confidence"),
            share=_share(typed["share"], "share"),
        )
    except Refused as refusal:
        return _form(request, candidate, typed, {refusal.field: refusal.detail}, status=refusal.status)
    except Missing:
        raise Http404 from None
    return redirect("arena", opened.pk)


def _whole(text: str, field: str) -> int:
    if not (text.isascii() and text.replace(",", "").isdigit() and len(text) < 9):
        raise Refused("Enter a whole number.", field=field)
    return int(text.replace(",", ""))


def _share(text: str, field: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise Refused("Enter a number such as 0.5.", field=field) from None
    if not 0 < value < 1:
        raise Refused("Enter a number between 0 and 1.", field=field)
    return value


def _form(
    request: HttpRequest,
    candidate: ModelVersion,
    typed: dict[str, Any],
    errors: dict[str, str] | None = None,
    *,
    status: int = 200,
) -> HttpResponse:
    champion = in_service_or_none()
    others = ModelVersion.objects.filter(writes=True, retired=None).exclude(
        pk__in=[candidate.pk, champion.pk if champion else 0]
    )
    context = {
        "candidate": candidate,
        "champion": champion,
        "others": [(str(one.pk), one.name) for one in others],
        "references": Reference.objects.count(),
        "typed": typed,
        "errors": errors or {},
        "confidences": [(f"{one:g}", f"{one:.0%}") for one in CONFIDENCES],
        "prospects": _prospects(typed),
    }
    return render(request, "studio/arena_new.html", context, status=status)


def _prospects(typed: dict[str, Any]) -> list[dict[str, Any]]:
    """The prospects of the rule in the form; empty if it is invalid."""
    try:
        rule = Rule(_share(typed["confidence"], ""), _share(typed["share"], ""), min(_whole(typed["prompts"], ""), 400))
    except (Refused, ValueError):
        return []
    return [vars(prospect(share, rule)) for share in SHARES]


@admins_only
@require_safe
@never_cache
def arena(request: HttpRequest, arena_id: int) -> HttpResponse:
    """studio/arena.html with `arena`, `contestants` with their ratings and coordinates, and the `width` of the chart."""
    found = Arena.objects.select_related("candidate", "champion", "by").filter(pk=arena_id).first()
    if found is None:
        raise Http404
    result = found.result or {}
    ratings = {one["place"]: one for one in result.get("ratings", ())}
    drawn = whiskers(ratings)
    contestants = [
        {
            "name": one.version.name if one.version else "People",
            "version": one.version,
            "rating": ratings.get(one.place),
            "drawn": drawn.get(one.place),
        }
        for one in found.contestants.select_related("version")
    ]
    pairs = pairs_of(found)
    context = {
        "arena": found,
        "result": result,
        "contestants": contestants,
        "width": WIDTH,
        "pairs": pairs.count(),
        "read": pairs.filter(votes__gt=0).count(),
        "share_of_wins": result["wins"] / max(1, result["wins"] + result["losses"]) if result else None,
    }
    return render(request, "studio/arena.html", context)


def whiskers(ratings: dict[int, dict[str, Any]]) -> dict[int, dict[str, float]]:
    """By place, the horizontal positions of the rating and its interval, on a common scale; `even` is a rating of 1,000."""
    values: list[float] = [1000, *(one[name] for one in ratings.values() for name in ("elo", "low", "high"))]
    least, span = min(values), max(max(values) - min(values), 1)

    def at(value: float) -> float:
        return round(MARGIN + (WIDTH - 2 * MARGIN) * (value - least) / span, 1)

    return {
        place: {"elo": at(one["elo"]), "low": at(one["low"]), "high": at(one["high"]), "even": at(1000)}
        for place, one in ratings.items()
    }


@admins_only
@require_POST
def arena_close(request: HttpRequest, arena_id: int) -> HttpResponse:
    try:
        close_arena(by=person(request), arena_id=arena_id)
    except Refused as refusal:
        messages.error(request, refusal.detail)
    return redirect("arena", arena_id)
