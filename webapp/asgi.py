"""What uvicorn serves: Django's pages, and the WebSockets of readers."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
_pages = get_asgi_application()  # before anything that touches a model

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402

from writer.stories.sockets import admit, routes  # noqa: E402

application = ProtocolTypeRouter({"http": _pages, "websocket": admit(URLRouter(routes))})
