"""Versions and reports as rows; nothing is trained or loaded here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from writer.stories.models import Deployment, DeploymentState, ModelVersion
from writer.studio.models import Arena, ArenaState, Evaluation, EvaluationState


@pytest.fixture
def candidate(model: ModelVersion) -> ModelVersion:
    return ModelVersion.objects.create(
        name="demo model, dpo 1",
        served_name="longhand-run-1",
        tokenizer=model.tokenizer,
        parent=model,
        folder="runs/1",
        sha256="0" * 64,
    )


def report(*, low: float = -0.01, high: float = 0.01) -> dict[str, Any]:
    """A report whose one guarded measure differs by so much."""
    figure = {
        "name": "words_error", "what": "how far off the length is", "better": "lower", "tolerance": 0.1, "note": "",
        "own": {"value": 0.1, "low": 0.0, "high": 0.2}, "beside": {"value": 0.1, "low": 0.0, "high": 0.2},
        "change": {"value": (low + high) / 2, "low": low, "high": high},
    }  # fmt: skip
    return {"stories": 12, "context": 2048, "scaled": True, "buckets": [], "figures": [figure]}


@pytest.fixture
def open_gate(model: ModelVersion) -> Callable[[ModelVersion], None]:
    """A good report and a won arena against the version in service."""

    def make(version: ModelVersion) -> None:
        champion = Deployment.objects.get(state=DeploymentState.SERVING).version
        Evaluation.objects.create(
            version=version, against=champion, state=EvaluationState.READY, report=report(), finished=timezone.now()
        )
        Arena.objects.create(
            candidate=version, champion=champion, words=300, state=ArenaState.DECIDED, result={"decision": "better"}
        )

    return make
