"""Checks whether the model server answers, so that a page can say why nothing is being written yet."""

from __future__ import annotations

import time
import urllib.error
import urllib.request

from django.conf import settings

_asked: tuple[float, bool] = (float("-inf"), True)
_http = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""An opener that ignores the proxies of the environment."""
REMEMBERED = 3.0
"""Seconds for which an answer is cached for all readers of a process."""


def model_ready() -> bool:
    """Ask the server, or use the cached answer. Blocks for two seconds at most, so it is called from threads."""
    global _asked
    if time.monotonic() - _asked[0] > REMEMBERED:
        _asked = (time.monotonic(), _answers())
    return _asked[1]


def model_not_known_away() -> bool:
    """The cached answer for a new reader, without a request. The next heartbeat asks the server."""
    return _asked[1] or time.monotonic() - _asked[0] > 5 * REMEMBERED


def _answers() -> bool:
    url = settings.MODEL_SERVER_URL
    if not url:
        return False
    try:
        with _http.open(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False
