"""A person's stories when they leave: exported to a file, and deleted."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

from django.db import transaction

from writer.accounts.models import User
from writer.accounts.operations.delete_account import delete_account
from writer.stories.models import Story
from writer.stories.operations.delete_story import delete_story
from writer.stories.operations.export import File, export
from writer.stories.reading import story_for, story_json


def export_all(*, user: User) -> File:
    """All stories of a person: each as Markdown, and all data about them as JSON."""
    packed = io.BytesIO()
    everything: list[dict[str, Any]] = []
    names: set[str] = set()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for pk in Story.objects.for_user(user).order_by("created").values_list("pk", flat=True):
            story = story_for(user, pk)
            file = export(story=story, kind="md")
            name = file.name
            if name in names:
                name = f"{name.removesuffix('.md')}-{str(pk)[:8]}.md"
            names.add(name)
            archive.writestr(name, file.content)
            everything.append(story_json(story))
        archive.writestr("stories.json", json.dumps(everything, ensure_ascii=False, indent=1))
    return File("longhand-stories.zip", "application/zip", packed.getvalue())


def leave(*, user: User) -> None:
    """Delete the account and all its stories, in one transaction."""
    with transaction.atomic():
        for pk in list(Story.objects.for_user(user).values_list("pk", flat=True)):
            delete_story(user=user, story_id=pk)
        delete_account(user=user)
