from __future__ import annotations

from functools import partial
from uuid import UUID

from django.db import transaction

from writer.accounts.models import User
from writer.stories.models import Generation
from writer.stories.operations.locking import lock_story
from writer.stories.wake import call_narrators, call_readers


def delete_story(*, user: User, story_id: UUID) -> None:
    """Delete a story with all its revisions and logs. Its narrator notices that the row is missing, and stops."""
    with transaction.atomic():
        story = lock_story(user, story_id)
        # The rows of the generations first: no narrator adds a chunk between the deletion of the chunks and theirs.
        generations = list(Generation.objects.select_for_update().filter(story=story).values_list("pk", flat=True))
        story.delete()
        for generation in generations:
            transaction.on_commit(partial(call_narrators, generation))
            transaction.on_commit(partial(call_readers, generation))
