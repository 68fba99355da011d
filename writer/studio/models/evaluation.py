"""The report of a version, and the stories that it is based on, each written in one answer."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from writer.stories.models import ModelVersion


class EvaluationState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    RUNNING = "running", "Being measured"
    READY = "ready", "Ready"
    FAILED = "failed", "Failed"


class Evaluation(models.Model):
    """`against` is the version that was in service at that time."""

    version = models.ForeignKey(ModelVersion, models.PROTECT, related_name="evaluations")
    against = models.ForeignKey(ModelVersion, models.PROTECT, null=True, related_name="+")
    each = models.PositiveSmallIntegerField(default=5, help_text="Stories a bucket of length")
    seed = models.PositiveIntegerField(default=1)
    assignments = models.JSONField(default=list, help_text="What is to be written: title, premise, target, seed")
    context = models.PositiveIntegerField(default=0)
    report = models.JSONField(null=True, help_text="A `training.evaluate.version.VersionReport`")
    state = models.CharField(max_length=7, choices=EvaluationState, default=EvaluationState.WAITING)
    problem = models.CharField(max_length=1000, blank=True)
    attempt = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)
    finished = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["version"], condition=Q(state__in=("waiting", "running")), name="one_evaluation_at_a_time"
            ),
            models.CheckConstraint(condition=Q(state__in=EvaluationState.values), name="evaluation_state_known"),
        ]

    def __str__(self) -> str:
        return f"evaluation {self.pk} of {self.version_id}"


class Sample(models.Model):
    """One of its stories, stored when it is finished, so that an interrupted evaluation can continue."""

    pk = models.CompositePrimaryKey("evaluation_id", "version_id", "number")
    evaluation = models.ForeignKey(Evaluation, models.CASCADE, related_name="samples")
    version = models.ForeignKey(ModelVersion, models.PROTECT, related_name="+")
    number = models.PositiveSmallIntegerField()
    text = models.TextField()
    words = models.PositiveIntegerField()
    ended = models.BooleanField()

    class Meta:
        ordering: ClassVar = ["number"]

    def __str__(self) -> str:
        return f"sample {self.number} of {self.evaluation_id}"
