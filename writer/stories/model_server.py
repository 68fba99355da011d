"""Whether the model server answers. Readers are told, so that a page can say why nothing is being written yet."""

from __future__ import annotations

import time
import urllib.error
import urllib.request

from django.conf import settings

_asked: tuple[float, bool] = (float("-inf"), True)
_http = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""It goes to the server itself, whatever proxy the environment names."""
REMEMBERED = 3.0
"""Seconds that an answer is good for: one question for all readers of a process."""


def model_ready() -> bool:
    """Ask, or remember. Blocks for two seconds at most, so it is called from threads."""
    global _asked
    if time.monotonic() - _asked[0] > REMEMBERED:
        _asked = (time.monotonic(), _answers())
    return _asked[1]


def model_not_known_away() -> bool:
    """What a reader is told who has just come: no first word waits for an answer. The next heartbeat asks."""
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
