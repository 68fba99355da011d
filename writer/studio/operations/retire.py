"""Retires a version: its weights are deleted. The row is kept for the stories and runs that refer to it."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from writer.accounts.audit import record
from writer.accounts.models import User
from writer.refusals import Missing, NotNow
from writer.stories.models import LIVE_STATES, Deployment, DeploymentState, Generation, ModelVersion
from writer.studio.adapters import continued_version
from writer.studio.models import ENDED, Run
from writer.studio.wake import call_keepers
from writer.studio.wanted import wanted_versions


def retire(*, by: User, version_id: int) -> ModelVersion:
    with transaction.atomic():
        version = ModelVersion.objects.select_for_update().filter(pk=version_id).first()
        if version is None:
            raise Missing
        if version.retired is not None:
            raise NotNow("Its weights have been deleted already.")
        if not version.sha256:
            raise NotNow("This is the site's own model, whose files do not belong to the studio.")
        if Deployment.objects.filter(
            version=version, state__in=(DeploymentState.SERVING, DeploymentState.LOADING)
        ).exists():
            raise NotNow("It is in service, or is being deployed.")
        if Generation.objects.filter(model=version, state__in=LIVE_STATES).exists():
            raise NotNow("It is writing a story. Wait until that is finished.")
        if Run.objects.filter(Q(base=version) | Q(reward_model=version)).exclude(state__in=ENDED).exists():
            raise NotNow("A run starts from it, or uses it as a reward model. Wait until that has ended.")
        waiting = Run.objects.exclude(state__in=ENDED).exclude(base=None).select_related("base__parent")
        if any(continued_version(run) == version for run in waiting):
            raise NotNow("A run continues an adapter of it. Wait until that has ended.")
        if version.pk in wanted_versions():
            raise NotNow("It is still loaded as the previous version, or is being evaluated.")
        version.retired = timezone.now()
        version.save(update_fields=["retired"])
        record(by, "version.delete", version.name)
        transaction.on_commit(call_keepers)
    return version
