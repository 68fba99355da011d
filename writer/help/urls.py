from __future__ import annotations

from django.urls import path

from writer.help import views

urlpatterns = [
    path("", views.help_page, name="help"),
    path("<path:name>", views.help_page, name="help"),
]
