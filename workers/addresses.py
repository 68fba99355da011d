"""The servers of model versions: the site's own model server, or a server for one version."""

from __future__ import annotations

from django.conf import settings

from writer.studio.models import Serving


def site_server() -> tuple[str, str]:
    """Address and key of the site's own model server."""
    return settings.MODEL_SERVER_URL, settings.MODEL_SERVER_KEY


def server_of(serving: Serving) -> tuple[str, str]:
    """Address and key of the server that serves the version."""
    return (serving.url, settings.MODEL_SERVER_KEY) if serving.url else site_server()
