"""Measures every request, and adds its story to the logs."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse
from prometheus_client import Histogram

SECONDS = Histogram(
    "longhand_http_seconds",
    "Time to answer a request, by the name of its address",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Measure:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        response = self._get_response(request)
        match = request.resolver_match
        route = match.route if match else "none"  # the pattern, since each path with an id would be a new label
        method = request.method if request.method in _METHODS else "other"
        SECONDS.labels(method, route, response.status_code).observe(time.perf_counter() - began)
        return response

    def process_view(
        self, _request: HttpRequest, _view: object, _args: tuple[object, ...], kwargs: dict[str, object]
    ) -> None:
        ids = {name: str(kwargs[name]) for name in ("story_id", "generation_id") if name in kwargs}
        if ids:
            structlog.contextvars.bind_contextvars(**ids)
