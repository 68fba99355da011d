"""Imports a Hugging Face folder as a version: an operator puts it in VAR/studio/incoming, an admin names it, a worker checks and copies it.

The web downloads nothing, and forms contain no path, only the name of an existing folder.
"""

from __future__ import annotations

import re
from pathlib import Path

from django.conf import settings
from django.db import IntegrityError, transaction

from writer.accounts.audit import record
from writer.accounts.models import User
from writer.refusals import Refused
from writer.stories.models import ModelVersion
from writer.stories.text import checked_text
from writer.studio.models import VersionImport
from writer.studio.wake import call_keepers

FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def incoming() -> Path:
    return Path(settings.VAR) / "studio" / "incoming"


def ask_import(*, by: User, name: str, folder: str) -> VersionImport:
    name = checked_text(name, "name", most=120, one_line=True, required=True)
    folder = folder.strip()
    if not FOLDER.fullmatch(folder):
        raise Refused("Enter the name of a folder: letters, digits, dots, dashes.", field="folder")
    if ModelVersion.objects.filter(name=name).exists():
        raise Refused("There is already a version with this name.", field="name")
    with transaction.atomic():
        try:
            with transaction.atomic():
                asked = VersionImport.objects.create(name=name, folder=folder, by=by)
        except IntegrityError:
            raise Refused("This folder is being imported already.", field="folder") from None
        record(by, "version.import", name, folder=folder)
        transaction.on_commit(call_keepers)
    return asked
