"""What the house fills into a GRPO run: who judges its stories, the principles in force, and the reward model.

What goes out: the judges read the requests of a data set, its human stories, and what the model writes, and a judge may be outside of the house. No
writer's draft is among them: a run learns from a data set alone, never from a snapshot, so no consent is asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings

from training.common.errors import MendableError
from training.rewards.settings import JUDGED
from workers.folders import model_path
from workers.jobs.runs import stages
from writer.studio.models import Run


def filled_in(run: Run, data: Path) -> dict[str, Any]:
    """The groups `rewards` and `guards` as the recipe reads them. The run's own server writes, so nothing of `rollouts` is filled in."""
    asked = run.settings["rewards"]
    names, pace = set(asked["weights"]), asked["judge"]
    rewards: dict[str, Any] = {"judge": None}
    if names & JUDGED:
        rewards["judge"] = pace | _judge()
    if "range" in names:
        rewards["ranges"] = pace | _judge()
    if "principles" in names:
        rewards["constitution"] = stages.constitution(data)
    if "preference" in names:
        if run.reward_model is None or run.reward_model.retired is not None:
            raise MendableError("The reward model of this run is gone. Clone it, and choose another one.")
        rewards["preference"] = str(model_path(run.reward_model))
    guards = run.settings["guards"] | {"judge": pace | _second() if settings.SECOND_JUDGE_URL else None}
    return {"rewards": asked | rewards, "guards": guards}


def keys() -> dict[str, str]:
    """What a run needs in its environment to be let in by its judges."""
    return {"JUDGE_KEY": settings.JUDGE_KEY, "SECOND_JUDGE_KEY": settings.SECOND_JUDGE_KEY}


def _judge() -> dict[str, str]:
    if not settings.JUDGE_URL:
        raise MendableError(
            "There is no judge: set JUDGE_URL, TEACHER_URL or MODEL_SERVER_URL, or use no reward that asks one."
        )
    return {"url": settings.JUDGE_URL, "model": settings.JUDGE_MODEL, "key_variable": "JUDGE_KEY"}


def _second() -> dict[str, str]:
    found = {"url": settings.SECOND_JUDGE_URL, "model": settings.SECOND_JUDGE_MODEL}
    if found == {"url": settings.JUDGE_URL, "model": settings.JUDGE_MODEL}:
        raise MendableError(
            "SECOND_JUDGE_URL and SECOND_JUDGE_MODEL name the judge itself: name another model, or none."
        )
    return found | {"key_variable": "SECOND_JUDGE_KEY"}
