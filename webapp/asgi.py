"""The ASGI application: Django's pages, and the WebSockets of readers."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
_pages = get_asgi_application()  # before anything that touches a model

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402

from writer.stories.sockets import admit, routes  # noqa: E402

AT_ONCE = 4
_threads = asyncio.Semaphore(AT_ONCE)


async def pages(scope: Any, receive: Any, send: Any) -> None:
    """Limit concurrent requests. Each has a thread, and with many Python threads all requests together take longer."""
    async with _threads:
        await _pages(scope, receive, send)


application = ProtocolTypeRouter({"http": pages, "websocket": admit(URLRouter(routes))})
