from __future__ import annotations

from django.urls import include, path

from webapp.api import api
from webapp.health import healthz, metrics, readyz

handler400 = "writer.stories.views.bad_request"

urlpatterns = [
    path("", include("writer.stories.urls")),
    path("", include("writer.editorial.urls")),
    path("", include("writer.studio.urls")),
    path("account/", include("writer.accounts.urls")),
    path("account/", include("allauth.urls")),
    path("help/", include("writer.help.urls")),
    path("api/", api.urls),
    path("healthz", healthz),
    path("readyz", readyz),
    path("metrics", metrics),
]
