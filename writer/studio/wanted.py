"""The versions that must be loaded, and why."""

from __future__ import annotations

from collections import defaultdict

from writer.stories.models import Deployment, DeploymentState, Generation, State
from writer.studio.models import Evaluation, EvaluationState


def wanted_versions() -> dict[int, list[str]]:
    """The reasons by version. The previous version stays loaded, so that a rollback takes seconds."""
    reasons: dict[int, list[str]] = defaultdict(list)
    for version, state in Deployment.objects.filter(
        state__in=(DeploymentState.SERVING, DeploymentState.LOADING)
    ).values_list("version_id", "state"):
        reasons[version].append("in service" if state == DeploymentState.SERVING else "on its way into service")
    for deployment in previous_deployments():
        reasons[deployment.version_id].append("in service before")
    writing = Generation.objects.filter(state__in=(State.QUEUED, State.RUNNING))
    for version in writing.order_by().values_list("model_id", flat=True).distinct():
        reasons[version].append("writing")
    measured = Evaluation.objects.filter(state__in=(EvaluationState.WAITING, EvaluationState.RUNNING))
    for version, against, parent in measured.values_list("version_id", "against_id", "version__parent_id"):
        for one in {version, against, parent}:
            if one is not None:
                reasons[one].append("being measured")
    return dict(reasons)


def previous_deployments() -> list[Deployment]:
    """The last ended deployment of each slot whose version is not in service."""
    found = []
    for serving in Deployment.objects.filter(state=DeploymentState.SERVING):
        before = (
            Deployment.objects.filter(slot=serving.slot, state=DeploymentState.ENDED)
            .exclude(version=serving.version_id)
            .order_by("-ended", "-pk")
            .first()
        )
        if before is not None and before.version.retired is None:
            found.append(before)
    return found
