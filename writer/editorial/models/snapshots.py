"""Datasets that never change.

A row refers to texts, which never change either, and contains the hash of its contents; the snapshot's hash is that of the hashes of
its rows. When a writer withdraws consent, or deletes the story, the row becomes a tombstone: the texts are deleted, but the hash is
kept, so that the snapshot can still be verified. Triggers of the database ensure both.
"""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

from writer.editorial.models.reading import Brief, Take


class SnapshotKind(models.TextChoices):
    PREFERENCE = "preference", "Preferences: prompt, chosen, rejected"
    PROMPTS = "prompts", "Prompts only"


class Making(models.TextChoices):
    WAITING = "waiting", "Being made"
    READY = "ready", "Ready"
    FAILED = "failed", "Could not be made"


class Snapshot(models.Model):
    number = models.PositiveIntegerField(unique=True)
    state = models.CharField(max_length=7, choices=Making, default=Making.WAITING)
    problem = models.CharField(max_length=500, blank=True)
    kind = models.CharField(max_length=10, choices=SnapshotKind)
    query = models.JSONField(help_text="A `snapshots.query.SnapshotQuery`: what was asked for")
    described = models.TextField(help_text="The same in words")
    counts = models.JSONField(default=dict, help_text="Rows by source, and what was left out for which reason")
    rows = models.PositiveIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-number"]

    def __str__(self) -> str:
        return f"snapshot {self.number}"


class SnapshotRow(models.Model):
    """A row. If it is a passage of one take, `passage` is {"start", "end"} with "better", a corrected wording, or with "worse", a
    wording that breaks a principle."""

    pk = models.CompositePrimaryKey("snapshot_id", "index")
    snapshot = models.ForeignKey(Snapshot, models.CASCADE, related_name="all_rows")
    index = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64)
    brief = models.ForeignKey(Brief, models.SET_NULL, null=True, related_name="+")
    chosen = models.ForeignKey(Take, models.SET_NULL, null=True, related_name="+")
    rejected = models.ForeignKey(Take, models.SET_NULL, null=True, related_name="+")
    passage = models.JSONField(null=True)
    label = models.FloatField(default=1.0, help_text="How sure: 1 for certain, 0.5 for a coin; the soft label")
    origin = models.JSONField(help_text="Where it comes from: pair, votes, editors, principle versions")
    gone = models.DateTimeField(null=True, help_text="A tombstone since")

    class Meta:
        ordering: ClassVar = ["index"]

    def __str__(self) -> str:
        return f"row {self.index} of {self.snapshot_id}"
