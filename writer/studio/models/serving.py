"""Which versions can be asked, and where. Wanted are those in service and the one before them, those that a story is being written by,
and those that are being measured, compared or put in service; `workers.serving.keeper` loads and unloads them by that."""

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
    """A version and its place. Adapters are asked at the server of the version that they adapt."""

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
