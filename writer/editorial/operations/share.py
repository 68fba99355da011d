"""Gives or withdraws a consent of a writer for a story."""

from __future__ import annotations

from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from writer.accounts.models import User
from writer.editorial.models import Consent, ConsentEvent, Sharing, SnapshotRow
from writer.refusals import Refused
from writer.stories.operations.locking import lock_story


def share(*, by: User, story_id: UUID, consent: str, given: bool) -> Sharing:
    """Set a consent. Withdrawn training leaves tombstones in every snapshot with texts of the story."""
    if consent not in Consent.values:
        raise Refused(
            "The consent must be for reading, for training, or for a model outside this site.", field="consent"
        )
    with transaction.atomic():
        if consent == Consent.TRAINING:
            _wait_for_snapshots()
        story = lock_story(by, story_id)
        sharing, _ = Sharing.objects.get_or_create(story=story)
        if getattr(sharing, consent) == given:
            return sharing
        setattr(sharing, consent, given)
        sharing.save(update_fields=[consent])
        ConsentEvent.objects.create(story=story, consent=consent, given=given, by=by)
        if consent == Consent.TRAINING and not given:
            SnapshotRow.objects.filter(brief__story=story, gone=None).update(gone=timezone.now(), passage=None)
    return sharing


SNAPSHOT_LOCK = 8_350_001
"""The key of an advisory lock in PostgreSQL."""


def no_consent_changes() -> None:
    """Block changes of consent for training until the transaction ends, while the rows of a snapshot are being stored.

    Otherwise a writer could withdraw consent after the rows were checked, but before they are visible for deletion.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [SNAPSHOT_LOCK])


def _wait_for_snapshots() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [SNAPSHOT_LOCK])
