"""The learning rate over a run."""

from __future__ import annotations

import pytest

from training.config.learner import LearnerSettings
from training.learner.schedule import rate_share


def shares(total: int, **changes: object) -> list[float]:
    settings = LearnerSettings.model_validate(changes)
    return [rate_share(step, total, settings) for step in range(total)]


def test_it_rises_and_falls_and_no_step_is_for_nothing() -> None:
    assert shares(8, schedule="linear", warmup_share=0.25) == pytest.approx(
        [1 / 3, 2 / 3, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    )
    cosine = shares(100, schedule="cosine", warmup_share=0.05, final_share=0.1)
    assert max(cosine) == cosine[5] == 1
    assert cosine[5:] == sorted(cosine[5:], reverse=True)
    assert 0.1 < cosine[-1] < 0.102
    assert shares(5, schedule="constant", warmup_share=0) == [1] * 5


def test_a_run_of_one_step_learns() -> None:
    for schedule in ("constant", "linear", "cosine"):
        assert shares(1, schedule=schedule)[0] > 0
        assert shares(2, schedule=schedule, warmup_share=1.0)[0] > 0
