"""Deploys a version, and rolls back.

    request  ->  LOADING: the worker loads the version and runs a smoke test  ->  SERVING, and the previous one ENDED

Until the switch, which is one transaction, the previous version is in service; after an error it stays. Stories that are being
written are finished with the version that began them.
"""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from writer.accounts.audit import record
from writer.accounts.models import User
from writer.refusals import Missing, NotNow, Refused
from writer.stories.models import Deployment, DeploymentKind, DeploymentState, ModelVersion, Slot
from writer.stories.text import checked_text
from writer.studio.gate import gate_of
from writer.studio.models import Serving, ServingState
from writer.studio.wake import call_keepers
from writer.studio.wanted import previous_deployments


def promote(*, by: User, version_id: int, reason: str = "", overrule: bool = False) -> Deployment:
    """Deploy a version. If the gate is closed, `overrule` with a reason is required, which is logged."""
    reason = checked_text(reason, "reason", most=2000)
    version = ModelVersion.objects.filter(pk=version_id).first()
    if version is None:
        raise Missing
    if version.retired is not None or not version.writes:
        raise NotNow(
            "This version cannot write stories any more." if version.writes else "This version writes no stories."
        )
    gate = gate_of(version)
    if not gate.passed:
        if not overrule:
            raise NotNow("The gate is closed: " + "; ".join(gate.reasons) + ".")
        if len(reason.split()) < 3:
            raise Refused("Give a reason, in a few words. It is kept on record.", field="reason")
    grounds = gate.as_dict() | {"overruled": not gate.passed}
    return _ask(by=by, version=version, kind=DeploymentKind.PROMOTE, reason=reason, grounds=grounds)


def roll_back(*, by: User, reason: str = "", slot: str = Slot.STORIES) -> Deployment:
    """Deploy the previous version again."""
    before = next((one for one in previous_deployments() if one.slot == slot), None)
    if before is None:
        raise NotNow("There is no previous version.")
    reason = checked_text(reason, "reason", most=2000)
    return _ask(by=by, version=before.version, kind=DeploymentKind.ROLLBACK, reason=reason, grounds={})


def _ask(*, by: User, version: ModelVersion, kind: str, reason: str, grounds: dict[str, Any]) -> Deployment:
    slot = Slot.STORIES
    with transaction.atomic():
        serving = Deployment.objects.select_for_update().filter(slot=slot, state=DeploymentState.SERVING).first()
        if serving is not None and serving.version_id == version.pk:
            raise NotNow(f"{version.name} is in service already.")
        try:
            with transaction.atomic():
                asked = Deployment.objects.create(
                    slot=slot, version=version, by=by, kind=kind, reason=reason, grounds=grounds
                )
        except IntegrityError:
            other = Deployment.objects.select_related("version", "by").filter(slot=slot, state=DeploymentState.LOADING)
            raise NotNow(_on_its_way(other.first(), version)) from None
        Serving.objects.filter(version=version, state=ServingState.FAILED).update(state=ServingState.LOADING, tries=0)
        record(by, f"version.{kind}", version.name, reason=reason, overruled=bool(grounds.get("overruled")))
        transaction.on_commit(call_keepers)
    return asked


def _on_its_way(other: Deployment | None, version: ModelVersion) -> str:
    if other is None:
        return "Somebody else has just put a version in service. Load the page again."
    who = other.by.name if other.by else "Somebody"
    same = "it" if other.version_id == version.pk else other.version.name
    return f"{who} is putting {same} in service right now. Wait until that is done."


def give_up(*, by: User, deployment_id: int) -> Deployment:
    """Cancel a deployment that is still loading."""
    with transaction.atomic():
        found = _loading(deployment_id)
        if found is None:
            raise NotNow("It is in service already, or has failed.")
        _failed(found, f"Cancelled by {by.name}.")
        record(by, "version.call_off", found.version.name)
    return found


def switch(deployment_id: int, *, proof: str) -> bool:
    """Put a version in service after its smoke test. Returns False if the deployment was cancelled."""
    with transaction.atomic():
        found = _loading(deployment_id)
        if found is None:
            return False
        now = timezone.now()
        Deployment.objects.filter(slot=found.slot, state=DeploymentState.SERVING).update(
            state=DeploymentState.ENDED, ended=now
        )
        found.state, found.began = DeploymentState.SERVING, now
        found.grounds = found.grounds | {"proof": proof[:500]}
        found.save(update_fields=["state", "began", "grounds"])
        record(None, "version.in_service", found.version.name, deployment=found.pk)
    return True


def switch_failed(deployment_id: int, problem: str) -> None:
    with transaction.atomic():
        found = _loading(deployment_id)
        if found is not None:
            _failed(found, problem)
            record(None, "version.failed", found.version.name, problem=problem[:500])


def _loading(deployment_id: int) -> Deployment | None:
    waiting = Deployment.objects.select_for_update(of=("self",)).select_related("version")
    return waiting.filter(pk=deployment_id, state=DeploymentState.LOADING).first()


def _failed(found: Deployment, problem: str) -> None:
    found.state, found.problem = DeploymentState.FAILED, problem[:1000]
    found.save(update_fields=["state", "problem"])
