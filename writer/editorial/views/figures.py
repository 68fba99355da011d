"""The pages of agreement, work and frequent violations, and of judgements to be checked again."""

from __future__ import annotations

import uuid
from collections import defaultdict
from datetime import date

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from pydantic import ValidationError

from writer.accounts.http import editors_only, person
from writer.editorial.acts import LookAct
from writer.editorial.figures import (
    agreement_by_principle,
    agreement_of_votes,
    broken_by_model,
    editors,
    scores,
    work_by_day,
)
from writer.editorial.operations.act import act, undo
from writer.editorial.pictures import HEIGHT, WIDTH, bars, line
from writer.editorial.stale import stale_marks, stale_reasons
from writer.refusals import Missing, Refused

DAYS, PAGE = 30, 20


@editors_only
@require_safe
@never_cache
def agreement(request: HttpRequest) -> HttpResponse:
    """editorial/agreement.html; the table of editors is for admins."""
    work = work_by_day(DAYS)
    by_editor: dict[str, dict[date, int]] = defaultdict(dict)
    for entry in work:
        by_editor[entry.editor][entry.day] = entry.all
    most = max((entry.all for entry in work), default=0)
    today = timezone.now().date()
    votes, over_time = agreement_of_votes()
    models, broken = broken_by_model()
    context = {
        "work": work,
        "bars": [(editor, bars(days, today, DAYS, most)) for editor, days in sorted(by_editor.items())],
        "votes": votes,
        "over_time": over_time,
        "line": line(over_time),
        "principles": agreement_by_principle(),
        "models": models,
        "broken": broken,
        "worst": max((rate or 0 for one in broken for rate in one.by_model), default=0),
        "scores": scores(),
        "editors": editors() if person(request).is_admin else [],
        "width": WIDTH,
        "height": HEIGHT,
    }
    return render(request, "editorial/agreement.html", context)


@editors_only
@require_safe
@never_cache
def again(request: HttpRequest) -> HttpResponse:
    """editorial/again.html with `marks` and `reasons` under an older meaning, some at a time, and how many there are."""
    marks = stale_marks().select_related("version__principle__current", "by").order_by("version__principle", "created")
    reasons = (
        stale_reasons().select_related("version__principle__current", "vote__by").order_by("version__principle", "pk")
    )
    context = {
        "marks": marks[:PAGE],
        "reasons": reasons[:PAGE],
        "count": marks.count() + reasons.count(),
        "last": request.GET.get("last", ""),
    }
    return render(request, "editorial/again.html", context)


@editors_only
@require_POST
def again_look(request: HttpRequest) -> HttpResponse:
    """`mark` or `vote`, `version` and `holds` (yes or no)."""
    op_id = uuid.uuid4().hex
    asked = {name: value for name in ("mark", "vote", "version") if (value := request.POST.get(name))}
    try:
        look = LookAct.model_validate(asked | {"kind": "look", "holds": request.POST.get("holds") == "yes"})
        act(by=person(request), op_id=op_id, asked=look)
    except (ValidationError, Missing):
        messages.error(request, "This mark or vote no longer exists.")
        return redirect("again")
    except Refused as refusal:
        messages.error(request, refusal.detail)
        return redirect("again")
    return redirect(f"{reverse('again')}?last={op_id}")


@editors_only
@require_POST
def again_undo(request: HttpRequest) -> HttpResponse:
    try:
        undo(by=person(request), op_id=request.POST.get("op_id", ""))
    except Missing:
        messages.error(request, "There is nothing to undo.")
    except Refused as refusal:
        messages.error(request, refusal.detail)
    return redirect("again")
