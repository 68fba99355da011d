"""Blind comparisons of whole stories: on each prompt every contestant has a text, and editors judge pairs of them.

The rule by which it ends is set when it is opened, and never changes. Pairs are ordinary pairs of the editors' room, with
the source "arena", which no data set contains: their prompts are held out.
"""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from writer.editorial.models import Brief, Take
from writer.stories.models import Generation, ModelVersion


class ArenaState(models.TextChoices):
    WRITING = "writing", "The stories are being written"
    OPEN = "open", "Editors are reading"
    DECIDED = "decided", "Decided"
    CLOSED = "closed", "Closed before it was decided"


class Arena(models.Model):
    """`candidate` against `champion`. Other contestants and human texts may take part, but the decision depends on these two."""

    candidate = models.ForeignKey(ModelVersion, models.PROTECT, related_name="arenas")
    champion = models.ForeignKey(ModelVersion, models.PROTECT, related_name="+")
    confidence = models.FloatField(default=0.95, validators=[MinValueValidator(0.8), MaxValueValidator(0.999)])
    share = models.FloatField(
        default=0.5,
        validators=[MinValueValidator(0.3), MaxValueValidator(0.7)],
        help_text="Of decided pairs, that the candidate must win more than",
    )
    most = models.PositiveIntegerField(default=60, help_text="Decided pairs after which it is over")
    words = models.PositiveIntegerField()
    state = models.CharField(max_length=7, choices=ArenaState, default=ArenaState.WRITING)
    result = models.JSONField(null=True, help_text="Counts, evidence, decision, ratings with intervals")
    problem = models.CharField(max_length=500, blank=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)
    finished = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(candidate=models.F("champion")), name="arena_of_two"),
            models.CheckConstraint(condition=Q(state__in=ArenaState.values), name="arena_state_known"),
        ]

    def __str__(self) -> str:
        return f"arena {self.pk}"


class Contestant(models.Model):
    """A model version, or people (None)."""

    arena = models.ForeignKey(Arena, models.CASCADE, related_name="contestants")
    version = models.ForeignKey(ModelVersion, models.PROTECT, null=True, related_name="+")
    place = models.PositiveSmallIntegerField()

    class Meta:
        ordering: ClassVar = ["place"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["arena", "version"], name="contestant_once", nulls_distinct=False),
            models.UniqueConstraint(fields=["arena", "place"], name="contestant_has_a_place"),
        ]

    def __str__(self) -> str:
        return f"{self.version_id or 'people'} in {self.arena_id}"


class ArenaTake(models.Model):
    """The text of a contestant on one prompt."""

    contestant = models.ForeignKey(Contestant, models.CASCADE, related_name="takes")
    brief = models.ForeignKey(Brief, models.PROTECT, related_name="+")
    generation = models.OneToOneField(Generation, models.SET_NULL, null=True, related_name="+")
    take = models.ForeignKey(Take, models.PROTECT, null=True, related_name="+")
    failed = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["contestant", "brief"], name="arena_take_once")]

    def __str__(self) -> str:
        return f"{self.contestant_id} on {self.brief_id}"
