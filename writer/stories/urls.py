from __future__ import annotations

from django.urls import path

from writer.stories import views

urlpatterns = [
    path("", views.stories, name="stories"),
    path("new", views.story_new, name="story_new"),
    path("stories/<uuid:story_id>", views.story, name="story"),
    path("stories/<uuid:story_id>/about", views.story_about, name="story_about"),
    path("stories/<uuid:story_id>/download.<str:kind>", views.story_download, name="story_download"),
    path("stories/<uuid:story_id>/delete", views.story_delete, name="story_delete"),
    path("account/export", views.account_export, name="account_export"),
    path("account/delete", views.account_delete, name="account_delete"),
]
