"""The pages for judging violations, one at a time. They work without scripts."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from pydantic import ValidationError

from writer.accounts.http import editors_only, person
from writer.accounts.models import User
from writer.editorial.acts import ViolationAct
from writer.editorial.models import Act, Rejection, Violation, ViolationState
from writer.editorial.operations.act import act, undo
from writer.editorial.violations import acceptance, next_violation, violation_for
from writer.editorial.worddiff import word_diff
from writer.refusals import Missing, Refused
from writer.stories.text import paragraphs

TYPED = ("state", "mended", "reason", "note")


@editors_only
@require_safe
@never_cache
def violations(request: HttpRequest) -> HttpResponse:
    """The next violation, optionally of the principle `principle`."""
    user, key = person(request), request.GET.get("principle", "")
    found = next_violation(user, [one for one in acceptance(user) if key in ("", one.key)])
    return _page(request, found, key)


@editors_only
@never_cache
def violation(request: HttpRequest, violation_id: int) -> HttpResponse:
    """A violation, to be judged (`state`, `mended`, `reason`, `note`, `op_id`) or with its judgement."""
    user, key = person(request), (request.POST or request.GET).get("principle", "")
    if request.method != "POST":
        return _page(request, violation_for(user, violation_id), key)
    typed = {name: request.POST[name] for name in TYPED if name in request.POST}
    try:
        asked = ViolationAct.model_validate(typed | {"kind": "judge_violation", "violation": violation_id})
        act(by=user, op_id=request.POST.get("op_id", ""), asked=asked)
    except (ValidationError, Missing):
        messages.error(request, "This one is not here any more: the text is gone, or its writer has taken it back.")
    except Refused as refusal:
        # The input stays on the page, even if the violation has been deleted.
        errors = {refusal.field: refusal.detail}
        return _page(request, violation_for(user, violation_id), key, typed, errors, status=refusal.status)
    return redirect(_address("violations", key))


@editors_only
@require_POST
def violation_undo(request: HttpRequest) -> HttpResponse:
    """Undo the act `op_id`, and show its violation again."""
    key = request.POST.get("principle", "")
    try:
        undone = undo(by=person(request), op_id=request.POST.get("op_id", ""))
    except Missing:
        messages.error(request, "There is nothing to undo.")
    except Refused as refusal:
        messages.error(request, refusal.detail)
    else:
        return redirect(_address("violation", key, undone.subject))
    return redirect(_address("violations", key))


def _address(name: str, key: str, *args: str) -> str:
    return reverse(name, args=args) + (f"?{urlencode({'principle': key})}" if key else "")


def _page(
    request: HttpRequest,
    found: Violation | None,
    key: str,
    typed: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
    *,
    status: int = 200,
) -> HttpResponse:
    """editorial/violations.html with `violation` (None: nothing waits) and its `pieces`, `before` and `after`; `figures` by principle;
    `key`, the principle that was asked for; `last`, what can be undone; and the form's `typed` and `errors`."""
    user = person(request)
    figures = acceptance(user)
    context: dict[str, Any] = {
        "violation": found,
        "figures": figures,
        "waiting": sum(one.waiting for one in figures),
        "key": key,
        "last": _last(user),
        "op_id": uuid.uuid4().hex,
        "reasons": [choice for choice in Rejection.choices if choice[0]],
        "typed": typed or {},
        "errors": errors or {},
    }
    if found is not None:
        text, given = found.take.text, found.take.brief.given
        context |= {
            "open": found.state == ViolationState.WAITING,
            "pieces": word_diff(found.good, found.mended or found.worse),
            "before": next(reversed(paragraphs(text[: found.start]) or paragraphs(given)), ""),
            "after": next(iter(paragraphs(text[found.end :])), ""),
            "percent": round(100 * found.changed),
        }
    return render(request, "editorial/violations.html", context, status=status)


def _last(user: User) -> tuple[Act, Violation] | None:
    """The newest valid judgement of this editor, and its violation; None if the text is gone."""
    found = Violation.objects.filter(by=user).select_related("version").order_by("-judged").first()
    if found is None:
        return None
    told = Act.objects.filter(editor=user, kind="judge_violation", subject=str(found.pk), undone=None).last()
    return None if told is None else (told, found)
