"""The learning rate schedule."""

from __future__ import annotations

import pytest

from training.config.learner import LearnerSettings
from training.learner.schedule import learning_rate_factor


def factors(total: int, **changes: object) -> list[float]:
    settings = LearnerSettings.model_validate(changes)
    return [learning_rate_factor(step, total, settings) for step in range(total)]


def test_it_rises_and_falls_and_no_step_has_a_rate_of_zero() -> None:
    assert factors(8, schedule="linear", warmup_share=0.25) == pytest.approx(
        [1 / 3, 2 / 3, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    )
    cosine = factors(100, schedule="cosine", warmup_share=0.05, final_share=0.1)
    assert max(cosine) == cosine[5] == 1
    assert cosine[5:] == sorted(cosine[5:], reverse=True)
    assert 0.1 < cosine[-1] < 0.102
    assert factors(5, schedule="constant", warmup_share=0) == [1] * 5


def test_a_run_of_one_step_has_a_learning_rate() -> None:
    for schedule in ("constant", "linear", "cosine"):
        assert factors(1, schedule=schedule)[0] > 0
        assert factors(2, schedule=schedule, warmup_share=1.0)[0] > 0
