from __future__ import annotations

from pathlib import PurePath

from django.conf import settings
from django.db import transaction

from writer.stories.models import ModelVersion


def ensure_model_version() -> ModelVersion:
    """Put the model that the settings name in service, with a row of its own that generations point to."""
    name = settings.MODEL_NAME or ("demo model" if settings.MODEL_IS_DEMO else PurePath(settings.MODEL).name)
    facts = {"served_name": settings.MODEL, "tokenizer": settings.MODEL_PATH, "is_demo": settings.MODEL_IS_DEMO}
    with transaction.atomic():
        ModelVersion.objects.exclude(name=name).filter(in_service=True).update(in_service=False)
        version, _ = ModelVersion.objects.update_or_create(name=name, defaults={**facts, "in_service": True})
    return version
