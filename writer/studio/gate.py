"""The gate: the conditions on report and arena under which a candidate may be deployed. Its result is stored with each deployment.

report   of the candidate compared with the version in service now: it is not worse in any guarded metric
arena    of the candidate against the version in service now, decided for the candidate by the rule with which it was opened
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
    """The reasons why the gate is closed."""
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
        gate.reasons.append(f"it has no report that compares it with {champion.name}")
    else:
        gate.report = report.pk
        gate.reasons += [f"worse by its report: {what}" for what in worse(report)]
    arena = Arena.objects.filter(candidate=version, champion=champion, state=ArenaState.DECIDED).first()
    if arena is None:
        gate.reasons.append(f"no arena against {champion.name} has been decided")
    else:
        gate.arena, gate.confidence = arena.pk, arena.confidence
        if (arena.result or {}).get("decision") != "better":
            gate.reasons.append(f"arena {arena.pk} did not find it better")
    gate.passed = not gate.reasons
    return gate


def worse(evaluation: Evaluation) -> list[str]:
    """The guarded metrics in which the candidate is worse."""
    if evaluation.report is None:
        return []
    return [figure.what for figure in VersionReport.model_validate(evaluation.report).worse]
