"""The gate: a candidate goes into service when its report and an arena say so. What it asks is stated here, and kept with each deployment.

report   of the candidate, ready, beside the version in service now: by no guarded measure is it worse
arena    of the candidate against the version in service now, decided for the candidate by the rule that was stated when it was opened
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from training.common.records import VersionReport
from writer.stories.models import ModelVersion
from writer.stories.operations.deploy import in_service
from writer.studio.models import Arena, ArenaState, Evaluation, EvaluationState


@dataclass
class Gate:
    passed: bool
    reasons: list[str] = field(default_factory=list)
    """Why not, in words."""
    report: int | None = None
    arena: int | None = None
    against: str = ""
    confidence: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def gate_of(version: ModelVersion) -> Gate:
    champion = in_service()
    gate = Gate(False, against=champion.name)
    report = Evaluation.objects.filter(version=version, against=champion, state=EvaluationState.READY).first()
    if report is None:
        gate.reasons.append(f"there is no report of it beside {champion.name}")
    else:
        gate.report = report.pk
        gate.reasons += [f"worse by its report: {what}" for what in worse(report)]
    arena = Arena.objects.filter(candidate=version, champion=champion, state=ArenaState.DECIDED).first()
    if arena is None:
        gate.reasons.append(f"no arena against {champion.name} was decided")
    else:
        gate.arena, gate.confidence = arena.pk, arena.confidence
        if (arena.result or {}).get("decision") != "better":
            gate.reasons.append(f"arena {arena.pk} did not find it better")
    gate.passed = not gate.reasons
    return gate


def worse(evaluation: Evaluation) -> list[str]:
    """The guarded measures by which it is."""
    if evaluation.report is None:
        return []
    return [figure.what for figure in VersionReport.model_validate(evaluation.report).worse]
