"""Principles, and all their wordings.

A `PrincipleVersion` never changes. Marks, votes, prompts of judges, training data and reports refer to the version
under which they were made. `meaning` is a number that increases only when an edit changes what the principle requires, so that
judgements under an older meaning can be found and checked again; a better example or a corrected comma does not change it.
"""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q


class Domain(models.TextChoices):
    """Weaver's four domains (arXiv 2401.17268, section 3)."""

    FICTION = "fiction", "Fiction"
    CREATIVE_NONFICTION = "creative_nonfiction", "Creative non-fiction"
    TECHNICAL = "technical", "Technical writing"
    MARKETING = "marketing", "Marketing"


class PrincipleState(models.TextChoices):
    DRAFT = "draft", "Draft"
    IN_FORCE = "in_force", "In force"
    RETIRED = "retired", "Retired"


class Principle(models.Model):
    """A principle independent of its wording: its key and its state."""

    key = models.SlugField(
        max_length=60, unique=True, help_text="Its name in files and in training data; never changes"
    )
    state = models.CharField(max_length=8, choices=PrincipleState, default=PrincipleState.DRAFT)
    current = models.OneToOneField("PrincipleVersion", models.RESTRICT, null=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["key"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(state__in=PrincipleState.values), name="principle_state_known")
        ]

    def __str__(self) -> str:
        return self.key


class PrincipleVersion(models.Model):
    """One wording of a principle. `tasks` holds keys of `training.common.tasks`, `examples` `training.common.records.Example`s."""

    principle = models.ForeignKey(Principle, models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    meaning = models.PositiveIntegerField(default=1, help_text="Grows when an edit changes what is asked")
    name = models.CharField(max_length=120)
    domains = ArrayField(models.CharField(max_length=20, choices=Domain))
    tasks = ArrayField(models.CharField(max_length=20))
    explanation = models.TextField(max_length=4000)
    examples = models.JSONField(default=list)
    why = models.CharField(max_length=500, blank=True, help_text="What the edit was for")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["principle", "number"], name="principle_version_once"),
            models.CheckConstraint(condition=Q(number__gte=1, meaning__gte=1), name="principle_version_from_one"),
        ]

    def __str__(self) -> str:
        return f"{self.name}, version {self.number}"
