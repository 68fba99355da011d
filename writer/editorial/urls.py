from __future__ import annotations

from django.urls import path

from writer.editorial import views

urlpatterns = [
    path("", views.constitution, name="constitution"),
    path("new", views.principle_new, name="principle_new"),
    path("import", views.constitution_import, name="constitution_import"),
    path("constitution.toml", views.constitution_export, name="constitution_export"),
    path("<slug:key>", views.principle, name="principle"),
    path("<slug:key>/edit", views.principle_edit, name="principle_edit"),
    path("<slug:key>/state", views.principle_state, name="principle_state"),
]
