"""The pages of a writer's stories. The drafting page uses the API."""

from __future__ import annotations

import time
import uuid
from typing import Any
from urllib.parse import quote
from uuid import UUID

from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from training.common.sampling import Sampling
from writer.accounts.http import person
from writer.refusals import Refused
from writer.stories.models import Story
from writer.stories.operations.create_story import change_story, create_story
from writer.stories.operations.delete_story import delete_story
from writer.stories.operations.export import FORMATS, File, export
from writer.stories.operations.leave import export_all, leave
from writer.stories.reading import story_for, story_json, story_lines

USUAL_WORDS = 1500
SAMPLING = ("temperature", "min_p")
"""The settings of `training.common.sampling.Sampling` that a story has."""


@login_required
@require_safe
def stories(request: HttpRequest) -> HttpResponse:
    """stories/list.html with `stories`: id, title, target_words, words, state, state_label, created, updated."""
    return render(request, "stories/list.html", {"stories": story_lines(person(request))})


@login_required
def story_new(request: HttpRequest) -> HttpResponse:
    """stories/new.html with `typed` (title, premise, target_words, temperature, min_p, key) and `errors` (field: words; "" for the whole form)."""
    if request.method != "POST":
        typed = {"title": "", "premise": "", "target_words": str(USUAL_WORDS), "key": uuid.uuid4().hex}
        typed |= _typed_sampling({})
        return render(request, "stories/new.html", {"typed": typed, "errors": {}})
    typed = {name: request.POST.get(name, "") for name in ("title", "premise", "target_words", "key")}
    typed |= {name: request.POST[name] for name in SAMPLING if name in request.POST}
    try:
        story = create_story(
            owner=person(request),
            title=typed["title"],
            premise=typed["premise"],
            target_words=whole_number(typed["target_words"], "target_words"),
            start=True,
            temperature=number(typed, "temperature"),
            min_p=number(typed, "min_p"),
            idempotency_key=typed["key"] or None,
        )
    except Refused as refusal:
        context = {"typed": typed, "errors": {refusal.field: refusal.detail}}
        return render(request, "stories/new.html", context, status=refusal.status)
    return redirect("story", story.pk)


def whole_number(typed: str, field: str) -> int:
    digits = typed.strip().replace(",", "").replace(" ", "")
    if not digits.removeprefix("-").isdecimal() or len(digits) > 12:
        raise Refused("A whole number, please, such as 1500." if typed.strip() else "This is missing.", field=field)
    return int(digits)


def number(typed: dict[str, str], field: str) -> float | None:
    """The number in the field; None if it was left empty."""
    text = typed.get(field, "").strip()
    try:
        return float(text.replace(",", ".")) if text else None
    except ValueError:
        raise Refused("A number, please, such as 0.5.", field=field) from None


def _typed_sampling(stored: dict[str, Any]) -> dict[str, str]:
    sampling = Sampling(**stored)
    return {name: f"{getattr(sampling, name):g}" for name in SAMPLING}


@login_required
@require_safe
@never_cache
def story(request: HttpRequest, story_id: UUID) -> HttpResponse:
    """stories/story.html with `story` (the row) and `data`, what the page's script reads from json_script "story"."""
    user = person(request)
    row = story_for(user, story_id)
    data: dict[str, Any] = story_json(row) | {
        "user": {"id": user.pk, "name": user.name, "role": user.role},
        "urls": {
            "stories": reverse("stories"),
            "download_md": reverse("story_download", args=[row.pk, "md"]),
            "download_txt": reverse("story_download", args=[row.pk, "txt"]),
            "delete": reverse("story_delete", args=[row.pk]),
        },
    }
    return render(request, "stories/story.html", {"story": row, "data": data})


@login_required
@never_cache
def story_about(request: HttpRequest, story_id: UUID) -> HttpResponse:
    """stories/about.html with `story`, `typed` (title, premise, temperature, min_p) and `errors`."""
    row = story_for(person(request), story_id)
    if request.method != "POST":
        typed = {"title": row.title, "premise": row.premise, **_typed_sampling(row.sampling)}
        return render(request, "stories/about.html", {"story": row, "typed": typed, "errors": {}})
    typed = {name: request.POST.get(name, "") for name in ("title", "premise")}
    typed |= {name: request.POST[name] for name in SAMPLING if name in request.POST}
    try:
        change_story(
            story=row,
            title=typed["title"],
            premise=typed["premise"],
            temperature=number(typed, "temperature"),
            min_p=number(typed, "min_p"),
        )
    except Refused as refusal:
        context = {"story": row, "typed": typed, "errors": {refusal.field: refusal.detail}}
        return render(request, "stories/about.html", context, status=refusal.status)
    return redirect("story", row.pk)


@login_required
@require_safe
@never_cache
def story_download(request: HttpRequest, story_id: UUID, kind: str) -> HttpResponse:
    if kind not in FORMATS:
        raise Http404
    return attachment(export(story=story_for(person(request), story_id), kind=FORMATS[kind]))


def attachment(file: File) -> HttpResponse:
    """A response that the browser saves, and never shows as a page of this site."""
    stem, _, suffix = file.name.encode("ascii", "ignore").decode().rpartition(".")
    plain = f"{stem.strip('-.') or 'story'}.{suffix}"
    return HttpResponse(
        file.content,
        content_type=file.content_type,
        headers={
            "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file.name)}",
            "X-Content-Type-Options": "nosniff",
        },
    )


@login_required
@require_POST
def story_delete(request: HttpRequest, story_id: UUID) -> HttpResponse:
    delete_story(user=person(request), story_id=story_id)
    messages.success(request, "The story is deleted.")
    return redirect("stories")


# Leaving: stories are downloaded or deleted, and the account is deleted

EXPORTED = "exported"
"""Key in the session: when this person downloaded all stories."""
EXPORT_IS_FRESH = 3600


@login_required
@require_safe
@never_cache
def account_export(request: HttpRequest) -> HttpResponse:
    request.session[EXPORTED] = time.time()
    return attachment(export_all(user=person(request)))


@login_required
@never_cache
@sensitive_post_parameters()
def account_delete(request: HttpRequest) -> HttpResponse:
    """accounts/delete.html with `stories` (how many), `exported` and `errors`.

    It posts `password`, and as `choice` "erase", or "export" if the stories are to be downloaded first.
    """
    user = person(request)
    exported = time.time() - request.session.get(EXPORTED, 0) < EXPORT_IS_FRESH
    errors, status = {}, 200
    if request.method == "POST":
        try:
            if not user.check_password(request.POST.get("password", "")):
                raise Refused("That is not your password.", field="password")
            choice = request.POST.get("choice")
            if choice not in ("export", "erase"):
                raise Refused("What should happen to your stories?", field="choice")
            if choice == "export" and not exported:
                raise Refused("Download your stories first; then delete the account.", field="choice")
            leave(user=user)
        except Refused as refusal:
            errors, status = {refusal.field: refusal.detail}, refusal.status
        else:
            logout(request)
            messages.success(request, "Your account and everything in it is deleted.")
            return redirect("account_login")
    context = {"stories": Story.objects.for_user(user).count(), "exported": exported, "errors": errors}
    return render(request, "accounts/delete.html", context, status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Handles invalid requests; those that are too long get a specific message."""
    if isinstance(exception, RequestDataTooBig):
        return render(request, "413.html", status=413)
    return render(request, "400.html", status=400)
