"""Liveness, readiness and metrics: /healthz, /readyz, /metrics. None of them contains secrets."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.db.models import Count, F, Min, Sum
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from webapp.env import env
from writer.accounts.tokens import bearer
from writer.stories.hub import readers_now
from writer.stories.model_server import model_ready
from writer.stories.models import Generation, State

NARRATOR_LATE = 15.0
"""Seconds. A queued story is claimed within one, and a lease is renewed every three."""


@require_safe
def healthz(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def readyz(_request: HttpRequest) -> JsonResponse:
    """503 if stories cannot be read or saved. A missing model server or narrator is reported, but does not count."""
    checks = {
        "database": _check(_database),
        "redis": _check(_redis),
        "model_server": _check(_model_server),
    }
    checks["narrator"] = _check(_narrator) if checks["database"]["ok"] else {"ok": False, "detail": "not known"}
    works = checks["database"]["ok"] and checks["redis"]["ok"]
    healthy = all(check["ok"] for check in checks.values())
    status = "ready" if healthy else "degraded" if works else "unavailable"
    return JsonResponse({"status": status, "checks": checks}, status=200 if works else 503)


def _check(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return {"ok": True} | work()
    except DatabaseError:
        return {"ok": False, "detail": "PostgreSQL does not answer."}
    except (redis.RedisError, OSError):
        return {"ok": False, "detail": "Redis does not answer."}


def _database() -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return {}


def _redis() -> dict[str, Any]:
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2) as client:
        client.ping()
    return {}


def _model_server() -> dict[str, Any]:
    if model_ready():
        return {}
    return {"ok": False, "detail": "The model server is loading its model, or is unavailable. Stories wait for it."}


def _narrator() -> dict[str, Any]:
    age, late = _queue()["oldest"], _lease_age()
    if (
        age > NARRATOR_LATE
        and not Generation.objects.filter(state=State.RUNNING, lease_until__gt=timezone.now()).exists()
    ):
        return {
            "ok": False,
            "detail": f"No narrator claims stories; the oldest has waited for {age:.0f} s.",
            "queue_seconds": age,
        }
    if late > NARRATOR_LATE:
        return {"ok": False, "detail": f"A story lost its narrator {late:.0f} s ago.", "lease_overdue_seconds": late}
    return {"queue_seconds": age, "lease_overdue_seconds": late}


def _queue() -> dict[str, float]:
    found = Generation.objects.filter(state=State.QUEUED).aggregate(length=Count("pk"), oldest=Min("created"))
    oldest = (timezone.now() - found["oldest"]).total_seconds() if found["oldest"] else 0.0
    return {"length": found["length"], "oldest": round(max(oldest, 0.0), 1)}


def _lease_age() -> float:
    """Seconds since the oldest expired lease ended; 0 if every story that is being written has a narrator."""
    first = Generation.objects.filter(state=State.RUNNING).aggregate(first=Min("lease_until"))["first"]
    return round(max((timezone.now() - first).total_seconds(), 0.0), 1) if first else 0.0


class _House(Collector):
    """Metrics from the database, read at each scrape. They are the same in every web process, except for the readers."""

    def collect(self) -> list[GaugeMetricFamily]:
        states = GaugeMetricFamily("longhand_generations", "Generations by state", labels=["state"])
        counts = dict(Generation.objects.values_list("state").annotate(count=Count("pk")).order_by())
        for state in State.values:
            states.add_metric([state], counts.get(state, 0))
        written = Generation.objects.aggregate(words=Sum(F("words") - F("base_words"), default=0))["words"]
        queue = _queue()
        return [
            states,
            GaugeMetricFamily("longhand_words_written", "Words in all stories that models wrote", value=written),
            GaugeMetricFamily("longhand_queue_length", "Stories that wait for a narrator", value=queue["length"]),
            GaugeMetricFamily(
                "longhand_queue_oldest_seconds", "How long the oldest of them waits", value=queue["oldest"]
            ),
            GaugeMetricFamily(
                "longhand_lease_overdue_seconds", "How long a story is without narrator", value=_lease_age()
            ),
            GaugeMetricFamily("longhand_readers", "WebSockets open in this process", value=readers_now()),
        ]

    def describe(self) -> list[GaugeMetricFamily]:
        return []  # no query at registration


REGISTRY.register(_House())


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """For a scraper on this machine, or one that sends METRICS_TOKEN; 404 for all others."""
    given = bearer(request.headers.get("Authorization", ""))
    with_token = bool(env.metrics_token) and secrets.compare_digest(given.encode(), env.metrics_token.encode())
    # Requests that a proxy on this machine forwards do not count as local.
    local = request.META.get("REMOTE_ADDR") in ("127.0.0.1", "::1") and "X-Forwarded-For" not in request.headers
    if not (with_token or (local and not env.metrics_token)):
        raise Http404
    return HttpResponse(generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)
