"""Stories, their revisions, and the generations that write them.

The text of a story is its head revision, followed by what a generation has written since:

    head.text  +  log(head.generation)[head.absorbed:]

A generation's log is append-only and a revision never changes. A save makes a new revision from a part of the log, with the
writer's changes (`absorbed` increases), so that both can write at the same time: the writer in the finished paragraphs, the
narrator at the end. `docs/protocol.md` defines this protocol.
"""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from training.common.sampling import Sampling
from writer.stories.querysets import GenerationQuerySet, StoryQuerySet

MIN_WORDS, MAX_WORDS = 200, 20_000
TITLE_CHARS, PREMISE_CHARS, TEXT_CHARS = 200, 20_000, 1_000_000


class ModelVersion(models.Model):
    """A model that can write. It is defined here, not in the studio, because every generation refers to the version that wrote it.

    A version whose weights are in the studio has their folder and hashes. The site's own model, with which the model server was
    started, has neither.
    """

    name = models.CharField(max_length=120, unique=True, help_text="What people read: demo model, Qwen3.5-9B")
    served_name = models.CharField(max_length=200, help_text="What the model server calls it")
    tokenizer = models.CharField(
        max_length=500, help_text="Folder or name that its tokenizer and chat template are read from"
    )
    is_demo = models.BooleanField(default=False)
    writes = models.BooleanField(default=True, help_text="Not so a reward model")
    parent = models.ForeignKey("self", models.PROTECT, null=True, related_name="children", help_text="It was made from")
    folder = models.CharField(max_length=200, blank=True, help_text="Below the studio's folder: model/ and adapter/")
    manifest = models.JSONField(default=dict, help_text="Bytes and SHA-256 of each file in it")
    sha256 = models.CharField(max_length=64, blank=True, help_text="Of the manifest; empty for the site's own model")
    retired = models.DateTimeField(null=True, help_text="Its weights were deleted")
    created = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name

    @property
    def is_starter(self) -> bool:
        """Whether it is the starter model of the first run, which the site serves."""
        return bool(settings.MODEL_IS_STARTER) and self.served_name == settings.MODEL

    @property
    def ancestry(self) -> list[ModelVersion]:
        """This version and its ancestors, up to the first."""
        return [self] if self.parent is None else [self, *self.parent.ancestry]

    @property
    def root(self) -> ModelVersion:
        return self.ancestry[-1]


class Slot(models.TextChoices):
    STORIES = "stories", "Stories"


class DeploymentState(models.TextChoices):
    LOADING = "loading", "Being loaded"
    SERVING = "serving", "In service"
    ENDED = "ended", "Was in service"
    FAILED = "failed", "Was not put in service"


class DeploymentKind(models.TextChoices):
    SETTINGS = "settings", "By the site's settings"
    PROMOTE = "promote", "Promoted"
    ROLLBACK = "rollback", "Rolled back"


class Deployment(models.Model):
    """A version in service from `began` to `ended`. The table is the deployment history. A trigger of the database ensures that a slot
    that had a version in service always has one, and that ended deployments do not change."""

    slot = models.CharField(max_length=20, choices=Slot, default=Slot.STORIES)
    version = models.ForeignKey(ModelVersion, models.PROTECT, related_name="deployments")
    state = models.CharField(max_length=7, choices=DeploymentState, default=DeploymentState.LOADING)
    kind = models.CharField(max_length=8, choices=DeploymentKind)
    reason = models.TextField(max_length=2000, blank=True)
    grounds = models.JSONField(default=dict, help_text="What the gate found, and whether it was overruled")
    problem = models.CharField(max_length=1000, blank=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    asked = models.DateTimeField(auto_now_add=True)
    began = models.DateTimeField(null=True)
    ended = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["slot"], condition=Q(state="serving"), name="one_version_in_service"),
            models.UniqueConstraint(fields=["slot"], condition=Q(state="loading"), name="one_version_on_its_way"),
            models.CheckConstraint(
                condition=Q(state__in=("loading", "failed"), began=None, ended=None)
                | Q(state="serving", began__isnull=False, ended=None)
                | Q(state="ended", began__isnull=False, ended__isnull=False),
                name="deployment_times",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.version} for {self.slot}, {self.state}"


class Story(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="stories")
    title = models.CharField(max_length=TITLE_CHARS)
    premise = models.TextField(max_length=PREMISE_CHARS)
    target_words = models.PositiveIntegerField(validators=[MinValueValidator(MIN_WORDS), MaxValueValidator(MAX_WORDS)])
    head = models.OneToOneField("Revision", models.RESTRICT, null=True, related_name="+")
    sampling = models.JSONField(
        default=dict, help_text="temperature and min_p, as its writer chose; otherwise as the site serves"
    )
    blind = models.BooleanField(
        default=False, help_text="A take for judges who must not know its writer: no page shows it"
    )
    created = models.DateTimeField(auto_now_add=True)
    updated = models.DateTimeField(auto_now=True)

    objects: ClassVar[StoryQuerySet] = StoryQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering: ClassVar = ["-updated"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(target_words__gte=MIN_WORDS, target_words__lte=MAX_WORDS), name="story_target_in_range"
            )
        ]

    def __str__(self) -> str:
        return self.title


class State(models.TextChoices):
    QUEUED = "queued", "Waiting for its turn"
    RUNNING = "running", "Being written"
    PAUSED = "paused", "Paused"
    DONE = "done", "Finished"
    STOPPED = "stopped", "Stopped"
    FAILED = "failed", "Interrupted"


LIVE_STATES = (State.QUEUED, State.RUNNING, State.PAUSED)


class Wish(models.TextChoices):
    """A request of the writer for a running generation, which its narrator carries out at the next tick."""

    NONE = "", "Nothing"
    PAUSE = "pause", "Pause"
    STOP = "stop", "Stop"


class Ending(models.TextChoices):
    """How the text ended. A cut is a failure, and is stored as one."""

    NONE = "", "Not ended"
    ENDED = "ended", "Ended by itself"
    LANDED = "landed", "Landed by the narrator"
    CUT = "cut", "Cut off"


class Generation(models.Model):
    """A request to a model for text. The row contains the lease and the fence; its chunks are the text."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    story = models.ForeignKey(Story, models.CASCADE, related_name="generations")
    base = models.ForeignKey(
        "Revision", models.RESTRICT, related_name="takes", help_text="The revision it goes on from"
    )
    model = models.ForeignKey(ModelVersion, models.PROTECT, related_name="generations")
    target_words = models.PositiveIntegerField(help_text="Words of the whole story, the base included")
    sampling = models.JSONField(default=dict, help_text="A `training.common.sampling.Sampling`")
    idempotency_key = models.CharField(max_length=64, null=True)

    state = models.CharField(max_length=7, choices=State, default=State.QUEUED)
    wish = models.CharField(max_length=5, choices=Wish, default=Wish.NONE, blank=True)
    ending = models.CharField(max_length=6, choices=Ending, default=Ending.NONE, blank=True)
    notice = models.CharField(max_length=500, blank=True, help_text="What the writer should know: why it stopped")

    attempt = models.PositiveIntegerField(
        default=0, help_text="The fence: only the narrator that holds this number may write"
    )
    holder = models.CharField(max_length=80, blank=True)
    lease_until = models.DateTimeField(null=True)
    failures = models.PositiveSmallIntegerField(default=0, help_text="Attempts in a row that wrote nothing")

    last_seq = models.PositiveIntegerField(default=0)
    story_chars = models.PositiveIntegerField(default=0)
    thinking_chars = models.PositiveIntegerField(default=0)
    words = models.PositiveIntegerField(default=0, help_text="Words of the whole story now, the base included")
    base_words = models.PositiveIntegerField(
        default=0, help_text="Words of the base: target less these is what was asked for"
    )

    created = models.DateTimeField(auto_now_add=True)
    started = models.DateTimeField(null=True)
    finished = models.DateTimeField(null=True)

    objects: ClassVar[GenerationQuerySet] = GenerationQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering: ClassVar = ["created"]
        indexes: ClassVar = [
            models.Index(fields=["created"], condition=Q(state="queued"), name="generation_queue"),
            models.Index(fields=["lease_until"], condition=Q(state="running"), name="generation_leases"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["story"], condition=Q(state__in=LIVE_STATES), name="one_live_generation"),
            models.UniqueConstraint(fields=["story", "idempotency_key"], name="generation_asked_once"),
            models.CheckConstraint(condition=Q(state__in=State.values), name="generation_state_known"),
            models.CheckConstraint(
                condition=~Q(state="running") | Q(lease_until__isnull=False), name="running_has_a_lease"
            ),
            models.CheckConstraint(
                condition=(Q(state="done") & ~Q(ending="")) | (~Q(state="done") & Q(ending="")),
                name="done_has_an_ending",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.story_id} by {self.model_id}, {self.state}"

    @property
    def sampled(self) -> str:
        """How it was sampled, for people."""
        return str(Sampling.read(self.sampling))


class Channel(models.TextChoices):
    STORY = "story", "Story"
    THINKING = "thinking", "Planning"


class Chunk(models.Model):
    """A piece of a generation's log. `start` is the offset in code points within its channel."""

    pk = models.CompositePrimaryKey("generation_id", "seq")
    generation = models.ForeignKey(Generation, models.CASCADE, related_name="chunks")
    seq = models.PositiveIntegerField()
    channel = models.CharField(max_length=8, choices=Channel)
    start = models.PositiveIntegerField()
    attempt = models.PositiveIntegerField()
    text = models.TextField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["generation", "channel", "start"], name="log_has_no_overlap"),
            models.CheckConstraint(condition=Q(seq__gte=1), name="chunk_seq_from_one"),
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.seq} of {self.generation_id}"


class Revision(models.Model):
    """A text that a person saved, or that a generation continues. Revisions never change; `parent` makes them a tree."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    story = models.ForeignKey(Story, models.CASCADE, related_name="revisions")
    parent = models.ForeignKey("self", models.RESTRICT, null=True, related_name="children")
    text = models.TextField(max_length=TEXT_CHARS, blank=True)
    generation = models.ForeignKey(
        Generation, models.RESTRICT, null=True, related_name="+", help_text="Whose log follows `text`"
    )
    absorbed = models.PositiveIntegerField(default=0, help_text="Characters of that log that `text` already holds")
    origins = models.JSONField(default=list, help_text="One entry a paragraph: {person} or {generation}")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    op_id = models.CharField(
        max_length=64, null=True, help_text="The browser's name for this save: sent twice, it is saved once"
    )
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["story", "op_id"], name="save_stored_once"),
            models.CheckConstraint(condition=Q(generation__isnull=False) | Q(absorbed=0), name="absorbed_needs_a_log"),
        ]

    def __str__(self) -> str:
        return f"revision {self.pk}"
