"""The overview of the studio, the deployment history, and the audit log."""

from __future__ import annotations

import json
import secrets
from datetime import datetime
from typing import Any

from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from training.common.text import storable
from training.config.declarations import PROBLEMS
from writer.accounts.audit import SITE
from writer.accounts.http import admins_only
from writer.accounts.models import AuditEvent
from writer.stories.models import Deployment, DeploymentState, ModelVersion
from writer.stories.operations.deploy import serving_at
from writer.studio.models import Arena, ArenaState, Evaluation, Machine, Run, RunState
from writer.studio.wanted import previous_deployments

A_PAGE = 100


@admins_only
@require_safe
@never_cache
def studio(request: HttpRequest) -> HttpResponse:
    """studio/studio.html: deployments, candidates, active runs, machines, and packages that are left out."""
    serving = Deployment.objects.filter(state=DeploymentState.SERVING).select_related("version", "by").first()
    since = serving.version_id if serving else 0
    candidates = (
        ModelVersion.objects.filter(writes=True, retired=None, pk__gt=since)
        .exclude(deployments__began__isnull=False)
        .select_related("run")
        .order_by("-pk")[:10]
    )
    reports: dict[int, Evaluation] = {}
    for evaluation in Evaluation.objects.filter(version__in=list(candidates)).order_by("pk"):
        reports[evaluation.version_id] = evaluation
    arenas: dict[int, Arena] = {
        one.candidate_id: one for one in Arena.objects.filter(candidate__in=list(candidates)).order_by("pk")
    }
    context = {
        "deployment": serving,
        "previous": next(iter(previous_deployments()), None),
        "loading": Deployment.objects.filter(state=DeploymentState.LOADING).select_related("version", "by").first(),
        "failed": _last_failed(),
        "candidates": [(one, reports.get(one.pk), arenas.get(one.pk)) for one in candidates],
        "runs": Run.objects.filter(state__in=(RunState.DRAFT, RunState.QUEUED, RunState.RUNNING)).select_related(
            "by", "machine"
        ),
        "machines": Machine.objects.prefetch_related("gpus__run", "gpus__serving__version"),
        "arenas": Arena.objects.filter(state__in=(ArenaState.WRITING, ArenaState.OPEN)).select_related("candidate"),
        "left_out": PROBLEMS,
        "key": secrets.token_urlsafe(16),
        "now": timezone.now(),
    }
    return render(request, "studio/studio.html", context)


def _last_failed() -> Deployment | None:
    """The newest deployment, if it failed."""
    last = Deployment.objects.select_related("version").order_by("-pk").first()
    return last if last is not None and last.state == DeploymentState.FAILED else None


@admins_only
@require_safe
@never_cache
def ledger(request: HttpRequest) -> HttpResponse:
    """studio/ledger.html with a page of `deployments`; `?at=` shows the version in service at that time."""
    asked = request.GET.get("at", "").strip()
    at = _time(asked)
    found = Deployment.objects.select_related("version", "by").order_by("-pk")
    context = {
        "page": Paginator(found, A_PAGE).get_page(request.GET.get("page")),
        "asked": asked,
        "at": at,
        "then": serving_at(at) if at else None,
        "not_a_time": bool(asked) and at is None,
    }
    return render(request, "studio/ledger.html", context)


def _time(text: str) -> datetime | None:
    """The time; None for invalid input, such as a thirteenth month."""
    try:
        found = parse_datetime(text)
    except ValueError:
        return None
    return timezone.make_aware(found) if found is not None and timezone.is_naive(found) else found


@admins_only
@require_safe
@never_cache
def audit(request: HttpRequest) -> HttpResponse:
    """studio/audit.html with a page of `events`; `?act=` and `?who=` narrow it."""
    found = AuditEvent.objects.order_by("-pk")
    act, who = (storable(request.GET.get(name, "")).strip()[:most] for name, most in (("act", 60), ("who", 80)))
    if act:
        found = found.filter(act__startswith=act)
    if who:
        named = Q(who__icontains=who)
        found = found.filter(named | Q(who__in=SITE) if who.lower() in SITE else named)
    rooms = sorted(
        {name.partition(".")[0] for name in AuditEvent.objects.order_by().values_list("act", flat=True).distinct()}
    )
    page = Paginator(found, A_PAGE).get_page(request.GET.get("page"))
    page.object_list = list(page.object_list)
    for event in page.object_list:
        event.details = {name: _said(value) for name, value in event.details.items()}
    context = {
        "page": page,
        "act": act,
        "who": who,
        "rooms": rooms,
    }
    return render(request, "studio/audit.html", context)


def _said(value: Any) -> str | None:
    """A detail in JSON notation."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
