"""A writer gives a consent for a story, or takes it back."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from writer.accounts.models import User
from writer.editorial.models import Consent, ConsentEvent, Sharing, SnapshotRow
from writer.refusals import Refused
from writer.stories.operations.locking import lock_story


def share(*, by: User, story_id: UUID, consent: str, given: bool) -> Sharing:
    """Training taken back leaves a tombstone in every snapshot that holds something of the story."""
    if consent not in Consent.values:
        raise Refused("A consent is for reading, for training, or for a model outside the house.", field="consent")
    with transaction.atomic():
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
