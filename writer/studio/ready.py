"""The queued runs that could start now."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from writer.editorial.models import Making
from writer.studio.models import Run, RunState


def ready_to_start() -> QuerySet[Run]:
    """Queued runs whose data are ready."""
    return Run.objects.filter(Q(snapshot=None) | Q(snapshot__state=Making.READY), state=RunState.QUEUED).select_related(
        "base", "snapshot", "dataset"
    )
