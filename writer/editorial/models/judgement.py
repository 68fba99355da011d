"""Judgements of texts: votes, marks, rubric sheets, settlements. Nothing is overwritten; undone rows contain the time.

Every change is an `Act` with an `op_id` that the browser chose: if it is sent twice, it is stored once, and it can be undone.
"""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from writer.editorial.models.constitution import PrincipleVersion
from writer.editorial.models.reading import Pair, Reading, Take
from writer.stories.models import ModelVersion

AXES = {
    "plot": "Plot",
    "character": "Character",
    "prose": "Prose",
    "brief": "Faithfulness to the brief",
    "length": "Length",
}


class VoteSource(models.TextChoices):
    EDITOR = "editor", "An editor, blind"
    WRITER = "writer", "The writer, in the drafting room"
    IMPORT = "import", "Imported"


class Vote(models.Model):
    """Which of a pair is better: -2 the first clearly, -1 the first slightly, 0 a tie, 1 and 2 the second.

    Numbers refer to the pair, not to the screen: the sides are converted when a vote is stored.
    """

    pair = models.ForeignKey(Pair, models.CASCADE, related_name="all_votes")
    reading = models.ForeignKey(Reading, models.SET_NULL, null=True, related_name="votes")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="votes")
    source = models.CharField(max_length=6, choices=VoteSource)
    preference = models.SmallIntegerField()
    axes = models.JSONField(default=dict, help_text="The same numbers for some of AXES")
    reason = models.TextField(max_length=4000, blank=True)
    read_first = models.FloatField(null=True, help_text="Share of its words that were on the screen, 0 to 1")
    read_second = models.FloatField(null=True)
    seconds = models.PositiveIntegerField(default=0)
    undone = models.DateTimeField(null=True)
    created = models.DateTimeField(auto_now_add=True)

    reasons: models.ManyToManyField[Any, Any] = models.ManyToManyField(PrincipleVersion, through="VoteReason")

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["by", "created"], name="vote_by_editor"),
            models.Index(fields=["pair"], condition=Q(undone=None), name="vote_in_force"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["pair", "by"], condition=Q(undone=None), name="one_vote_in_force"),
            models.CheckConstraint(condition=Q(preference__range=(-2, 2)), name="preference_in_range"),
            models.CheckConstraint(condition=Q(source__in=VoteSource.values), name="vote_source_known"),
        ]

    def __str__(self) -> str:
        return f"{self.preference} on {self.pair_id}"


class VoteReason(models.Model):
    """A principle that is the reason of a vote, in the wording that the editor saw, or has checked since."""

    vote = models.ForeignKey(Vote, models.CASCADE, related_name="vote_reasons")
    version = models.ForeignKey(PrincipleVersion, models.PROTECT, related_name="vote_reasons")

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["vote", "version"], name="reason_once")]

    def __str__(self) -> str:
        return f"{self.version_id} for {self.vote_id}"


class Severity(models.IntegerChoices):
    """The three grades of MQM (Multidimensional Quality Metrics)."""

    MINOR = 1, "Minor"
    MAJOR = 2, "Major"
    CRITICAL = 3, "Critical"


class Mark(models.Model):
    """Words of a take that break a principle. Offsets are code points of the take's text.

    `quote`, with a little of what stands before and after it, finds the words again in a later revision. `better` is a
    better wording: with it the mark is also a pair of the passage as written and as corrected.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    take = models.ForeignKey(Take, models.CASCADE, related_name="marks")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="marks")
    version = models.ForeignKey(PrincipleVersion, models.PROTECT, related_name="marks")
    severity = models.PositiveSmallIntegerField(choices=Severity, default=Severity.MAJOR)
    block = models.PositiveIntegerField(help_text="The paragraph that it begins in")
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    quote = models.TextField()
    before = models.CharField(max_length=64, blank=True)
    after = models.CharField(max_length=64, blank=True)
    note = models.TextField(max_length=4000, blank=True)
    better = models.TextField(max_length=20_000, blank=True)
    model = models.ForeignKey(
        ModelVersion, models.PROTECT, null=True, related_name="+", help_text="The version that wrote these words"
    )
    removed = models.DateTimeField(null=True)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["start", "end", "created"]
        indexes: ClassVar = [
            models.Index(fields=["take", "start"], condition=Q(removed=None), name="mark_in_take"),
            models.Index(fields=["version"], condition=Q(removed=None), name="mark_of_version"),
            models.Index(fields=["by", "created"], name="mark_by_editor"),
            models.Index(fields=["take"], condition=Q(removed=None) & ~Q(better=""), name="mark_mended"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(start__lt=F("end")), name="mark_has_words"),
            models.CheckConstraint(condition=Q(severity__in=Severity.values), name="severity_known"),
        ]

    def __str__(self) -> str:
        return f"{self.quote[:40]!r} in {self.take_id}"


class RubricSheet(models.Model):
    """The score of a take by the Story Quality rubric (`training.common.rubric`), from a person, or from the judge in `judge`."""

    take = models.ForeignKey(Take, models.CASCADE, related_name="rubric_sheets")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    judge = models.CharField(max_length=200, blank=True)
    sheet = models.JSONField(help_text="A `training.common.rubric.Scores`")
    overall = models.SmallIntegerField()
    removed = models.DateTimeField(null=True)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["take", "by"], condition=Q(removed=None), name="one_sheet_in_force"),
            models.CheckConstraint(condition=Q(overall__range=(-159, 108)), name="overall_in_range"),
        ]

    def __str__(self) -> str:
        return f"{self.overall} for {self.take_id}"


class Why(models.TextChoices):
    """Why editors disagreed, in the view of the one who settles the pair."""

    OVERLOOKED = "overlooked", "One side overlooked something"
    UNCLEAR = "unclear", "The principle is unclear"
    BRIEF = "brief", "The brief can be read in two ways"
    TASTE = "taste", "Both can be held: it is a matter of taste"


class Settlement(models.Model):
    """The decision of a third editor on a pair about which two disagree. An unclear principle becomes a question to the constitution."""

    pair = models.ForeignKey(Pair, models.CASCADE, related_name="settlements")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    preference = models.SmallIntegerField()
    why = models.CharField(max_length=10, choices=Why)
    words = models.TextField(max_length=4000)
    version = models.ForeignKey(
        PrincipleVersion, models.PROTECT, null=True, related_name="questions", help_text="The one that is unclear"
    )
    removed = models.DateTimeField(null=True)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["pair"], condition=Q(removed=None), name="settled_once"),
            models.CheckConstraint(condition=Q(preference__range=(-2, 2)), name="settlement_in_range"),
            models.CheckConstraint(condition=~Q(why="unclear") | Q(version__isnull=False), name="unclear_names_it"),
        ]

    def __str__(self) -> str:
        return f"{self.why}: {self.preference} on {self.pair_id}"


class Act(models.Model):
    """An act of an editor, with the browser's op_id. `before` contains what undo restores."""

    editor = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="acts")
    op_id = models.CharField(max_length=64)
    kind = models.CharField(max_length=20)
    asked = models.JSONField(help_text="What was sent, to know it again")
    subject = models.CharField(max_length=36, help_text="The id of the vote, mark, sheet, ... that it made or changed")
    before = models.JSONField(default=dict)
    at = models.DateTimeField(auto_now_add=True)
    undone = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["editor", "at"], name="act_by_editor")]
        constraints: ClassVar = [models.UniqueConstraint(fields=["editor", "op_id"], name="act_once")]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"
