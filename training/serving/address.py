"""The address of an OpenAI-compatible server, as its vendor gives it: with or without the /v1, with any path, with a query."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit, urlunsplit

_ROUTE = re.compile(r"/(?:chat/)?completions$|/responses$")
_COMPLETE = re.compile(r"/v\d+[a-z\d]*(?:/|$)|/deployments/[^/]+$")
"""A path with a version, or of one of Azure's deployments, to which no /v1 is added."""


class Endpoint(NamedTuple):
    base: str
    """What routes such as /chat/completions follow."""
    query: Mapping[str, str]

    def route(self, path: str) -> str:
        """The whole address of a route, without the query. A route without /v1 is beside the base."""
        inside = path.removeprefix("/v1")
        return self.base + inside if inside != path else self.base.removesuffix("/v1") + path


def endpoint(url: str) -> Endpoint:
    """Where the routes of a server are.

    >>> [endpoint(url).base for url in ("http://host", "https://host/judge/", "https://host/openai/v1/", "https://host/v1beta/openai")]
    ['http://host/v1', 'https://host/judge/v1', 'https://host/openai/v1', 'https://host/v1beta/openai']
    >>> endpoint("https://host/openai/deployments/a?api-version=2026-01-01")
    Endpoint(base='https://host/openai/deployments/a', query={'api-version': '2026-01-01'})
    """
    parts = urlsplit(url)
    path = _ROUTE.sub("", parts.path.rstrip("/")).rstrip("/")
    path = path if _COMPLETE.search(path) else f"{path}/v1"
    return Endpoint(urlunsplit((parts.scheme, parts.netloc, path, "", "")), dict(parse_qsl(parts.query)))
