"""Runs: trainings, which make a version, and stages, which make data. The row contains state, attempt and
settings; the run's folder on its machine contains the rest.

    draft -> queued -> running -> done | stopped | failed
                ^---------'  its process died: resume from the last complete checkpoint

A draft is being planned, or has been planned and waits to be started. A run belongs to the machine that began it, where its
checkpoints are; a file lock on this machine prevents it from running twice. A run on several machines belongs to whichever of them leads
it, since its folder is on all of them.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from training.common.events import EVENT
from training.recipes.registry import RECIPES, STAGES
from writer.editorial.models import Snapshot
from writer.stories.models import ModelVersion
from writer.studio.models.machines import Machine

MOST_GPUS = MOST_NODES = 64
PERSON = settings.AUTH_USER_MODEL  # Run has a field `settings`


class DatasetKind(models.TextChoices):
    PREFERENCE = "preference", "Preferences: prompt, chosen, rejected"
    CONVERSATIONS = "conversations", "Conversations"
    TEXTS = "texts", "Texts"


class Dataset(models.Model):
    """Files for training besides the snapshots, such as an imported corpus, or the output of a stage. They never change."""

    name = models.CharField(max_length=120, unique=True)
    kind = models.CharField(max_length=13, choices=DatasetKind)
    folder = models.CharField(max_length=500, help_text="Below the site's folder of data sets")
    rows = models.PositiveIntegerField(default=0)
    words = models.PositiveBigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, help_text="Of its files' hashes")
    card = models.TextField(blank=True, help_text="README.md of what a stage made")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class RunState(models.TextChoices):
    DRAFT = "draft", "Being planned"
    QUEUED = "queued", "Waiting for a GPU"
    RUNNING = "running", "Running"
    DONE = "done", "Finished"
    STOPPED = "stopped", "Stopped"
    FAILED = "failed", "Failed"


ENDED = (RunState.DONE, RunState.STOPPED, RunState.FAILED)


class RunWish(models.TextChoices):
    NONE = "", "Nothing"
    STOP = "stop", "Save and stop"
    KILL = "kill", "Stop at once"


class Run(models.Model):
    recipe = models.CharField(max_length=40)
    settings = models.JSONField(help_text="Of the recipe, as its class has checked them; no paths")
    base = models.ForeignKey(ModelVersion, models.PROTECT, null=True, related_name="runs_from")
    snapshot = models.ForeignKey(Snapshot, models.PROTECT, null=True, related_name="runs")
    dataset = models.ForeignKey(Dataset, models.PROTECT, null=True, related_name="runs")
    corpus = models.ForeignKey(
        Dataset, models.PROTECT, null=True, related_name="shown_by", help_text="Whose passages a stage shows"
    )
    reward_model = models.ForeignKey(
        ModelVersion, models.PROTECT, null=True, related_name="preferred_by", help_text="Whose preference is a reward"
    )
    nodes = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1), MaxValueValidator(MOST_NODES)], help_text="Machines"
    )
    gpus = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(0), MaxValueValidator(MOST_GPUS)], help_text="On each of its machines"
    )
    note = models.CharField(max_length=500, blank=True)
    plan = models.JSONField(null=True, help_text="What the dry run found")
    cloned_from = models.ForeignKey("self", models.SET_NULL, null=True, related_name="clones")
    idempotency_key = models.CharField(max_length=64, null=True, unique=True)

    state = models.CharField(max_length=7, choices=RunState, default=RunState.DRAFT)
    starts_itself = models.BooleanField(
        default=False, help_text="Once planned it waits for no button: it was started by one"
    )
    wish = models.CharField(max_length=4, choices=RunWish, default=RunWish.NONE, blank=True)
    wished_at = models.DateTimeField(null=True)
    problem = models.CharField(max_length=1000, blank=True)
    machine = models.ForeignKey(Machine, models.PROTECT, null=True, related_name="runs")
    attempt = models.PositiveIntegerField(
        default=0, help_text="The fence: only the follower with this number may write"
    )
    lease_until = models.DateTimeField(null=True)
    rendezvous = models.JSONField(
        null=True, help_text="Of a run on several machines: their names, and where its processes meet, under which id"
    )
    failures = models.PositiveSmallIntegerField(default=0, help_text="Deaths in a row without a new checkpoint")

    step = models.PositiveIntegerField(default=0)
    steps = models.PositiveIntegerField(default=0)
    phase = models.CharField(max_length=40, blank=True)
    last_seq = models.PositiveIntegerField(default=0)
    read_bytes = models.PositiveBigIntegerField(default=0, help_text="Of its events.jsonl, that are in the database")
    disk = models.PositiveBigIntegerField(default=0, help_text="Bytes of its folder")
    forgotten = models.BooleanField(default=False, help_text="Its checkpoints and data were cleared away")

    version = models.OneToOneField(ModelVersion, models.PROTECT, null=True, related_name="run")
    made = models.OneToOneField(Dataset, models.SET_NULL, null=True, related_name="run", help_text="By a stage")
    report = models.JSONField(
        null=True, help_text="What came of it: a stage's report, or what was learned of principles"
    )
    by = models.ForeignKey(PERSON, models.SET_NULL, null=True, related_name="runs")
    created = models.DateTimeField(auto_now_add=True)
    queued = models.DateTimeField(null=True)
    started = models.DateTimeField(null=True)
    finished = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-pk"]
        indexes: ClassVar = [
            models.Index(fields=["queued"], condition=Q(state="queued"), name="run_queue"),
            models.Index(fields=["machine"], condition=Q(state="running"), name="run_running"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(state__in=RunState.values), name="run_state_known"),
            models.CheckConstraint(
                condition=Q(snapshot__isnull=False, dataset=None) | Q(snapshot=None, dataset__isnull=False),
                name="run_learns_from_one_thing",
            ),
            models.CheckConstraint(
                condition=Q(base=None, gpus=0) | Q(base__isnull=False, gpus__gte=1), name="run_trains_a_model_or_none"
            ),
            models.CheckConstraint(condition=Q(nodes=1) | Q(nodes__gt=1, gpus__gte=1), name="run_has_gpus_everywhere"),
            models.CheckConstraint(
                condition=~Q(state="running") | Q(machine__isnull=False, lease_until__isnull=False),
                name="running_on_a_machine",
            ),
            models.CheckConstraint(
                condition=(Q(state__in=ENDED) & Q(finished__isnull=False)) | (~Q(state__in=ENDED) & Q(finished=None)),
                name="run_ended_has_an_end",
            ),
        ]

    def __str__(self) -> str:
        return f"run {self.pk}: {self.recipe}"

    @property
    def label(self) -> str:
        """The label of its recipe; the name if the recipe is no longer installed."""
        declared = RECIPES.get(self.recipe) or STAGES.get(self.recipe)
        return declared.label if declared else self.recipe

    @property
    def mixes(self) -> bool:
        """Whether it reads other data sets beside what it learns from."""
        return any(entry != f"dataset:{self.dataset_id}" for entry in self.settings.get("sources", {}))

    @property
    def all_gpus(self) -> int:
        """Its GPUs on all machines."""
        return self.nodes * self.gpus

    @property
    def meeting(self) -> dict[str, Any]:
        """`rendezvous`: `machines`, and, while its processes meet or have met, `id` and `endpoint`."""
        return self.rendezvous or {}


class EventKind(models.TextChoices):
    METRICS = "metrics", "Measures of a step"
    PHASE = "phase", "A phase that ended"
    LOG = "log", "A line for people"
    RESUMED = "resumed", "Resumed from a checkpoint"
    MODEL_SAVED = "model_saved", "The model is saved"
    ENDED = "ended", "How it ended"


class RunEvent(models.Model):
    """A line of a run's events.jsonl. `seq` has no gaps, so that readers can detect missing events."""

    pk = models.CompositePrimaryKey("run_id", "seq")
    run = models.ForeignKey(Run, models.CASCADE, related_name="events")
    seq = models.PositiveIntegerField()
    kind = models.CharField(max_length=11, choices=EventKind)
    time = models.DateTimeField()
    step = models.PositiveIntegerField(null=True)
    body = models.JSONField(help_text="What else the record of `training.common.records` has")

    class Meta:
        ordering: ClassVar = ["seq"]

    def __str__(self) -> str:
        return f"{self.kind} {self.seq} of {self.run_id}"

    @property
    def text(self) -> str:
        """The event as text; metrics are shown as curves."""
        if self.kind == EventKind.METRICS:
            return ""
        record = self.body | {"kind": self.kind, "time": self.time.timestamp(), "step": self.step}
        return EVENT.validate_python(record).text
