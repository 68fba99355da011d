"""Machines with GPU workers. The row of a GPU is its lease: it refers to the run or model server that holds it.

The lease does not expire. It ends when the machine's worker has found that the process has ended: with a timeout, two runs could
share a GPU. A run on several machines holds GPUs of all of them, and each machine frees its own.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q


class Machine(models.Model):
    name = models.CharField(max_length=200, unique=True)
    seen = models.DateTimeField(help_text="When its worker last said that it is there")
    disk_total = models.PositiveBigIntegerField(default=0, help_text="Bytes, where runs are kept")
    disk_free = models.PositiveBigIntegerField(default=0)
    disk_runs = models.PositiveBigIntegerField(default=0, help_text="Bytes that runs and versions take")

    def __str__(self) -> str:
        return self.name


class Gpu(models.Model):
    """A GPU. A machine without GPUs has one row for its processor, with a memory of 0."""

    machine = models.ForeignKey(Machine, models.CASCADE, related_name="gpus")
    index = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=200)
    memory = models.PositiveBigIntegerField(default=0, help_text="Bytes")
    run = models.ForeignKey("Run", models.PROTECT, null=True, related_name="gpus_held")
    serving = models.ForeignKey("Serving", models.PROTECT, null=True, related_name="gpus_held")

    class Meta:
        ordering: ClassVar = ["machine", "index"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["machine", "index"], name="gpu_once"),
            models.CheckConstraint(condition=Q(run=None) | Q(serving=None), name="gpu_has_one_holder"),
        ]

    def __str__(self) -> str:
        return f"{self.machine} {self.index}"
