"""Folders with weights that wait to be checked and imported."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from writer.stories.models import ModelVersion


class VersionImport(models.Model):
    name = models.CharField(max_length=120)
    folder = models.CharField(max_length=100)
    problem = models.CharField(max_length=1000, blank=True)
    version = models.OneToOneField(ModelVersion, models.SET_NULL, null=True, related_name="imported")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["folder"], condition=Q(version=None, problem=""), name="folder_taken_in_once"
            )
        ]

    def __str__(self) -> str:
        return self.name
