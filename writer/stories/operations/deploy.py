"""The version in service, which new stories use, and those of earlier times."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q

from writer.refusals import Unavailable
from writer.stories.models import Deployment, DeploymentState, ModelVersion, Slot


def in_service_or_none(slot: str = Slot.STORIES) -> ModelVersion | None:
    found = Deployment.objects.filter(slot=slot, state=DeploymentState.SERVING).select_related("version").first()
    return found.version if found is not None else None


def in_service(slot: str = Slot.STORIES) -> ModelVersion:
    found = in_service_or_none(slot)
    if found is None:
        raise Unavailable("No model is in service at the moment.")
    return found


def serving_at(at: datetime, slot: str = Slot.STORIES) -> Deployment | None:
    """The version that was in service at that time."""
    then = Deployment.objects.filter(Q(ended=None) | Q(ended__gt=at), slot=slot, began__lte=at)
    return then.select_related("version", "by").order_by("-began").first()
