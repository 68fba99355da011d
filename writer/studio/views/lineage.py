"""Reverse lineage: the model versions that learned from a principle, or from the judgements of an editor."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from writer.accounts.http import admins_only
from writer.accounts.models import User
from writer.editorial.models import Principle
from writer.studio.lineage import versions_of_editor, versions_of_principle


@admins_only
@require_safe
@never_cache
def learned_from_principle(request: HttpRequest, key: str) -> HttpResponse:
    """studio/learned.html with `principle` and `groups`: each wording of it (None for all of them), with its model versions."""
    principle = Principle.objects.select_related("current").filter(key=key).first()
    if principle is None:
        raise Http404
    groups = [(None, versions_of_principle(key))] + [
        (wording, versions_of_principle(key, wording.number)) for wording in principle.versions.order_by("-number")
    ]
    return render(request, "studio/learned.html", {"principle": principle, "groups": groups})


@admins_only
@require_safe
@never_cache
def learned_from_editor(request: HttpRequest, user_id: int) -> HttpResponse:
    """studio/learned.html with `editor`, None for somebody who has left, and `groups`: one, with their model versions."""
    editor = User.objects.filter(pk=user_id).first()
    found = versions_of_editor(user_id)
    if editor is None and not found:
        raise Http404
    return render(request, "studio/learned.html", {"editor": editor, "groups": [(None, found)]})
