from __future__ import annotations

from pathlib import PurePath

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from writer.stories.models import Deployment, DeploymentKind, DeploymentState, ModelVersion, Slot


def ensure_model_version() -> ModelVersion:
    """The row of the model in the settings. It is put in service unless a version that descends from it is."""
    name = settings.MODEL_NAME or ("demo model" if settings.MODEL_IS_DEMO else PurePath(settings.MODEL).name)
    facts = {"served_name": settings.MODEL, "tokenizer": settings.MODEL_PATH, "is_demo": settings.MODEL_IS_DEMO}
    with transaction.atomic():
        version, _ = ModelVersion.objects.update_or_create(name=name, defaults=facts)
        serving = (
            Deployment.objects.select_for_update().filter(slot=Slot.STORIES, state=DeploymentState.SERVING).first()
        )
        if serving is None or serving.version.root != version:
            _put_in_service(version, serving)
    return version


def _put_in_service(version: ModelVersion, before: Deployment | None) -> None:
    now = timezone.now()
    if before is not None:
        before.state, before.ended = DeploymentState.ENDED, now
        before.save(update_fields=["state", "ended"])
    Deployment.objects.create(
        slot=Slot.STORIES, version=version, state=DeploymentState.SERVING, kind=DeploymentKind.SETTINGS, began=now
    )
