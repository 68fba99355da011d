"""Loaded versions and their servers. Needed are the versions in service and the previous ones, those that are writing a story, and
those that are being evaluated, compared or deployed; `workers.serving.keeper` loads and unloads versions accordingly."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from writer.stories.models import ModelVersion
from writer.studio.models.machines import Machine


class ServingState(models.TextChoices):
    LOADING = "loading", "Loading"
    READY = "ready", "Ready"
    FAILED = "failed", "Could not be loaded"


class Serving(models.Model):
    """A version and its server. Adapters are served by the server of their base model."""

    version = models.OneToOneField(ModelVersion, models.CASCADE, related_name="serving")
    state = models.CharField(max_length=7, choices=ServingState, default=ServingState.LOADING)
    adapter = models.BooleanField(default=False, help_text="Loaded into a server that runs already")
    url = models.CharField(max_length=300, blank=True, help_text="Without the /v1; empty: the site's own model server")
    machine = models.ForeignKey(Machine, models.PROTECT, null=True, related_name="servings")
    problem = models.CharField(max_length=1000, blank=True)
    tries = models.PositiveSmallIntegerField(default=0)
    asked = models.DateTimeField(auto_now_add=True)
    changed = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(state__in=ServingState.values), name="serving_state_known")
        ]

    def __str__(self) -> str:
        return f"{self.version_id}, {self.state}"
