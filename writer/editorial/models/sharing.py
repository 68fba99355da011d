"""What a writer allows: three independent consents for a story, each with its history."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from writer.stories.models import Story


class Consent(models.TextChoices):
    READING = "reading", "Offered to the editors"
    TRAINING = "training", "May be used for training"
    OUTSIDE = "outside", "May be sent to a model outside this site"


class Sharing(models.Model):
    """The consents of a story as they are now. A story without a row is private."""

    story = models.OneToOneField(Story, models.CASCADE, primary_key=True, related_name="sharing")
    reading = models.BooleanField(default=False)
    training = models.BooleanField(default=False)
    outside = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"sharing of {self.story_id}"


class ConsentEvent(models.Model):
    """A consent that was given or withdrawn. The rows never change (a trigger of the database ensures that)."""

    story = models.ForeignKey(Story, models.CASCADE, related_name="consent_events")
    consent = models.CharField(max_length=8, choices=Consent)
    given = models.BooleanField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["at", "pk"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(consent__in=Consent.values), name="consent_known"),
        ]

    def __str__(self) -> str:
        return f"{self.consent} {'given' if self.given else 'taken back'}"
