"""Minimal violations (Weaver, arXiv 2401.17268, section 3.4): the smallest change by which a good text breaks one principle.

A teacher model writes them; editors accept, reject or correct them. Only the judgement of an editor may change (a trigger of the
database ensures that). A violation is deleted with the text that it was made from.
"""

from __future__ import annotations

import hashlib
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from writer.editorial.models.constitution import PrincipleVersion
from writer.editorial.models.reading import Take

WORSE_CHARS, BECAUSE_CHARS, NOTE_CHARS, SOURCE_CHARS = 20_000, 1000, 500, 80


class ViolationState(models.TextChoices):
    WAITING = "waiting", "Waits for an editor"
    ACCEPTED = "accepted", "Accepted"
    REJECTED = "rejected", "Rejected"
    MENDED = "mended", "Mended"


class Rejection(models.TextChoices):
    """Why a violation is rejected."""

    NONE = "", "Not rejected"
    NOT_BROKEN = "not_broken", "It does not break the principle"
    BREAKS_MORE = "breaks_more", "It breaks more than this principle"
    AWKWARD = "awkward", "Nobody would write it so"
    GOOD_IS_BAD = "good_is_bad", "The passage broke the principle already"
    OTHER = "other", "Another reason"


class Violation(models.Model):
    """Paragraphs of a take, from `start` to `end` in code points of its text, and their worse wording, `worse`."""

    take = models.ForeignKey(Take, models.CASCADE, related_name="violations")
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    worse = models.TextField(max_length=WORSE_CHARS)
    version = models.ForeignKey(PrincipleVersion, models.PROTECT, related_name="violations")
    because = models.CharField(
        max_length=BECAUSE_CHARS, help_text="Why it breaks the principle, in the teacher's words"
    )
    changed = models.FloatField(help_text="Share of the words that were changed, 0 to 1")
    source = models.CharField(max_length=SOURCE_CHARS, help_text="What made it, such as “run 12”")
    sha256 = models.CharField(max_length=64, unique=True, help_text="Of all that makes it another one: see `known_by`")
    state = models.CharField(max_length=8, choices=ViolationState, default=ViolationState.WAITING)
    mended = models.TextField(max_length=WORSE_CHARS, blank=True, help_text="An editor's own wording of `worse`")
    reason = models.CharField(max_length=11, choices=Rejection, default=Rejection.NONE, blank=True)
    note = models.CharField(max_length=NOTE_CHARS, blank=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="violations")
    judged = models.DateTimeField(null=True)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["version"], condition=Q(state="waiting"), name="violation_waits"),
            models.Index(fields=["by", "judged"], name="violation_by_editor"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(start__lt=F("end")), name="violation_has_words"),
            models.CheckConstraint(condition=~Q(worse=""), name="violation_says_something"),
            models.CheckConstraint(condition=Q(changed__range=(0, 1)), name="violation_changes_a_share"),
            models.CheckConstraint(condition=Q(state__in=ViolationState.values), name="violation_state_known"),
            models.CheckConstraint(condition=Q(reason__in=Rejection.values), name="violation_reason_known"),
            models.CheckConstraint(
                condition=Q(state="waiting", judged=None, by=None) | (~Q(state="waiting") & Q(judged__isnull=False)),
                name="violation_judged_or_waiting",
            ),
            models.CheckConstraint(
                condition=(Q(state="mended") & ~Q(mended="")) | (~Q(state="mended") & Q(mended="")),
                name="violation_mended_with_words",
            ),
            models.CheckConstraint(
                condition=(Q(state="rejected") & ~Q(reason="")) | (~Q(state="rejected") & Q(reason="", note="")),
                name="violation_rejected_for_a_reason",
            ),
        ]

    def __str__(self) -> str:
        return f"violation {self.pk} of {self.version_id} in {self.take_id}"

    @property
    def good(self) -> str:
        """The passage as it was written. The take must be loaded."""
        return self.take.text[self.start : self.end]


def known_by(take: Take, start: int, end: int, worse: str, version: PrincipleVersion) -> str:
    """SHA-256 of what identifies a violation, each part on a line, the passage last. The version's principle must be loaded."""
    lines = (take.pk, start, end, version.principle.key, version.number, worse)
    return hashlib.sha256("\n".join(map(str, lines)).encode()).hexdigest()
