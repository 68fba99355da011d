"""What editors read: briefs, takes, pairs of takes, and an editor's reading of a pair.

A take is a text at the time when somebody was asked to judge it. It never changes (a trigger of the database ensures that), so
that votes, marks and rows of training data always refer to the same words. It is deleted with the writer's story, together with all
judgements of it.

The browser gets only the reading of a pair: a random id, and two texts called left and right.
"""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import F, Q

from training.common.text import Message
from writer.editorial.messages import prompt_messages
from writer.stories.models import PREMISE_CHARS, TITLE_CHARS, Generation, ModelVersion, Story


class Brief(models.Model):
    """The request for a text. `given` is the existing text that the take continues."""

    story = models.ForeignKey(Story, models.CASCADE, null=True, related_name="briefs")
    title = models.CharField(max_length=TITLE_CHARS, blank=True)
    premise = models.TextField(max_length=PREMISE_CHARS)
    target_words = models.PositiveIntegerField(null=True)
    given = models.TextField(blank=True)
    prompt = models.JSONField(null=True, help_text="Messages, where the brief was imported and is not in our form")
    sha256 = models.CharField(max_length=64, help_text="Of the prompt's messages as JSON: see `messages.digest`")
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["story", "sha256"], name="brief_once_a_story")]

    def __str__(self) -> str:
        return self.title or self.premise[:80]

    @property
    def messages(self) -> list[Message]:
        if self.prompt is not None:
            return list(self.prompt)
        assert self.target_words is not None
        return prompt_messages(title=self.title, premise=self.premise, target=self.target_words, given=self.given)


class Take(models.Model):
    """A text on a brief, at the time when editors were asked to judge it."""

    brief = models.ForeignKey(Brief, models.CASCADE, related_name="takes")
    text = models.TextField()
    words = models.PositiveIntegerField()
    blocks = models.PositiveIntegerField(help_text="Paragraphs")
    sha256 = models.CharField(max_length=64, help_text="Of the completion's messages as JSON: see `messages.digest`")
    origins = models.JSONField(default=list, help_text="Who wrote each paragraph, as a revision has it")
    model = models.ForeignKey(
        ModelVersion, models.PROTECT, null=True, related_name="+", help_text="Where one version wrote all of it"
    )
    words_by = models.JSONField(default=dict, help_text="Words by the id of the model version that wrote them")
    generation = models.ForeignKey(Generation, models.SET_NULL, null=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["brief", "sha256"], name="take_once_a_brief")]

    def __str__(self) -> str:
        return f"take {self.pk} on {self.brief_id}"


class Sitting(models.Model):
    """An editor with a text to mark. A finished text without marks is a judgement, too."""

    take = models.ForeignKey(Take, models.CASCADE, related_name="sittings")
    editor = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    done = models.DateTimeField(null=True)
    opened = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["take", "editor"], name="sitting_once")]

    def __str__(self) -> str:
        return f"{self.editor_id} at {self.take_id}"


class PairSource(models.TextChoices):
    ASKED = "asked", "Asked for by an editor"
    WRITER = "writer", "A writer's own choice"
    IMPORT = "import", "Imported"
    ARENA = "arena", "Of an arena"


class Pair(models.Model):
    """Two takes on one brief. It needs votes of `overlap` editors; a gold pair has a known answer."""

    brief = models.ForeignKey(Brief, models.CASCADE, related_name="pairs")
    first = models.ForeignKey(Take, models.CASCADE, related_name="+")
    second = models.ForeignKey(Take, models.CASCADE, related_name="+")
    source = models.CharField(max_length=6, choices=PairSource)
    overlap = models.PositiveSmallIntegerField(default=3, validators=[MaxValueValidator(20)])
    priority = models.SmallIntegerField(default=0)
    votes = models.PositiveSmallIntegerField(default=0, help_text="Of editors, in force; the operations keep it")
    wanted = models.BooleanField(default=True, help_text="Editors are still wanted; the operations keep it")
    gold = models.SmallIntegerField(null=True, help_text="The known answer, as a vote has it")
    gold_because = models.CharField(max_length=1000, blank=True)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(F("priority").desc(), F("id"), condition=Q(wanted=True, gold__isnull=True), name="pair_queue"),
            models.Index(fields=["id"], condition=Q(gold__isnull=False), name="pair_gold"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["first", "second"], name="pair_once"),
            models.CheckConstraint(condition=~Q(first=F("second")), name="pair_of_two"),
            models.CheckConstraint(condition=Q(source__in=PairSource.values), name="pair_source_known"),
            models.CheckConstraint(condition=Q(gold__isnull=True) | Q(gold__range=(-2, 2)), name="gold_in_range"),
        ]

    def __str__(self) -> str:
        return f"pair {self.pk}"


class ReadingState(models.TextChoices):
    OPEN = "open", "Being read"
    VOTED = "voted", "Voted"
    SKIPPED = "skipped", "Passed over"


class SkipReason(models.TextChoices):
    NONE = "", "Not passed over"
    KNOWN = "known", "I know who wrote one of them"
    LANGUAGE = "language", "Not a language that I judge"
    BROKEN = "broken", "One of them is broken"
    UNWELL = "unwell", "I would rather not read this"
    OTHER = "other", "Another reason"


class Reading(models.Model):
    """A reading: an editor's turn at a pair. `swapped`: the pair's second take is on the left.

    `seen_*` are the paragraphs that were on the screen long enough to be read, as ranges [from, to); `place_*` is the position
    of the reader, in paragraphs and fractions of one.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    pair = models.ForeignKey(Pair, models.CASCADE, related_name="readings")
    editor = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="readings")
    settling = models.BooleanField(default=False, help_text="To settle a disagreement, not to vote")
    swapped = models.BooleanField()
    state = models.CharField(max_length=7, choices=ReadingState, default=ReadingState.OPEN)
    skip_reason = models.CharField(max_length=8, choices=SkipReason, default=SkipReason.NONE, blank=True)
    skip_note = models.CharField(max_length=500, blank=True)
    place_left = models.FloatField(default=0)
    place_right = models.FloatField(default=0)
    seen_left = models.JSONField(default=list)
    seen_right = models.JSONField(default=list)
    seconds = models.PositiveIntegerField(default=0, help_text="With the page in front of the reader")
    opened = models.DateTimeField(auto_now_add=True)
    closed = models.DateTimeField(null=True)
    revealed = models.DateTimeField(null=True, help_text="The reader was told who wrote them; the vote stands since")

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["editor", "opened"], name="reading_by_editor"),
            models.Index(fields=["editor"], condition=Q(state="open"), name="reading_begun"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["pair", "editor"], name="reading_once"),
            models.CheckConstraint(condition=Q(state__in=ReadingState.values), name="reading_state_known"),
            models.CheckConstraint(
                condition=(Q(state="skipped") & ~Q(skip_reason="")) | (~Q(state="skipped") & Q(skip_reason="")),
                name="skipped_for_a_reason",
            ),
        ]

    def __str__(self) -> str:
        return f"reading {self.pk}"


class Asking(models.Model):
    """A request for takes of two model versions. The pair is made when both are finished."""

    brief = models.ForeignKey(Brief, models.CASCADE, related_name="askings")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    first = models.OneToOneField(Generation, models.SET_NULL, null=True, related_name="+")
    second = models.OneToOneField(Generation, models.SET_NULL, null=True, related_name="+")
    overlap = models.PositiveSmallIntegerField()
    priority = models.SmallIntegerField()
    pair = models.OneToOneField(Pair, models.SET_NULL, null=True, related_name="asking")
    failed = models.CharField(max_length=500, blank=True, help_text="Why there will be no pair")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["id"], condition=Q(pair=None, failed=""), name="asking_waits")]

    def __str__(self) -> str:
        return f"asking for {self.brief_id}"
