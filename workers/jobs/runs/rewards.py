"""The settings of a run with rewards that the site fills in: the judges, the principles in force, and the reward model.

The judges read the requests of a data set, its human stories, and what the model writes, and a judge may be outside the site. They read no drafts
of writers: such a run learns only from a data set, never from a snapshot, so no consent is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings

from training.common.errors import MendableError
from training.rewards.registry import needs_of
from workers.folders import model_path
from workers.jobs.runs import stages
from writer.studio.models import Run


def filled_in(run: Run, data: Path) -> dict[str, Any]:
    """The settings `rewards` and `guards`, with what each reward needs. The run starts its own rollout server."""
    asked = run.settings["rewards"]
    needs, pace = needs_of(asked["weights"]), asked["judge"]
    rewards: dict[str, Any] = {"judge": None}
    if "judge" in needs:
        rewards["judge"] = pace | _judge()
    if "ranges" in needs:
        rewards["ranges"] = pace | _judge()
    if "constitution" in needs:
        rewards["constitution"] = stages.constitution(data)
    if "preference" in needs:
        if run.reward_model is None or run.reward_model.retired is not None:
            raise MendableError("The reward model of this run has been deleted. Clone the run, and choose another one.")
        rewards["preference"] = str(model_path(run.reward_model))
    guards = run.settings["guards"] | {"judge": pace | _second() if settings.SECOND_JUDGE_URL else None}
    return {"rewards": asked | rewards, "guards": guards}


def keys() -> dict[str, str]:
    """The keys of a run's judges, for its environment."""
    return {"JUDGE_KEY": settings.JUDGE_KEY, "SECOND_JUDGE_KEY": settings.SECOND_JUDGE_KEY}


def _judge() -> dict[str, Any]:
    if not settings.JUDGE_URL:
        raise MendableError(
            "There is no judge: set JUDGE_URL, TEACHER_URL or MODEL_SERVER_URL, or use no reward that needs one."
        )
    judge = {"url": settings.JUDGE_URL, "model": settings.JUDGE_MODEL, "key_variable": "JUDGE_KEY"}
    return judge | {"inside": not settings.JUDGE_OUTSIDE}


def _second() -> dict[str, Any]:
    found = {"url": settings.SECOND_JUDGE_URL, "model": settings.SECOND_JUDGE_MODEL}
    if found == {"url": settings.JUDGE_URL, "model": settings.JUDGE_MODEL}:
        raise MendableError(
            "SECOND_JUDGE_URL and SECOND_JUDGE_MODEL name the first judge: name another model, or none."
        )
    return found | {"key_variable": "SECOND_JUDGE_KEY", "inside": not settings.SECOND_JUDGE_OUTSIDE}
