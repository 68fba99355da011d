"""Our side of `benchmarks.grpo`: the recipe, with a fake judge and stories of given lengths."""

from __future__ import annotations

from typing import Any

from benchmarks.grpo_work import CONTEXT, FakeJudge, Turns, Work, take_turns
from training.datasets.requests import Request
from training.learner.run import Run
from training.recipes.grpo import GrpoSettings
from training.recipes.grpo.loop import grpo
from training.rewards.records import StoryScore
from training.rollouts import run as rollouts
from training.rollouts.gather import Gatherer
from training.rollouts.records import Place


def settings_of(work: Work) -> GrpoSettings:
    """Return settings whose only reward is that of the fake judge, under the name of a reward that needs no judge in the settings."""
    return GrpoSettings.model_validate(
        {
            "run_dir": work.folder / "run", "model": work.model, "data": (work.folder.parent / "requests.jsonl",), "context": CONTEXT,
            "steps": work.steps, "batch": len(work.lengths), "group": len(work.lengths[0]), "human": None,
            "checkpoint_every": 10**6, "evaluate_every": 10**6, "learner": work.learner,
            "rollouts": {"url": work.url, "max_staleness": work.behind}, "rewards": {"weights": {"length": 1.0}}, "guards": {"cut": None, "probes": 0, "every": 10**6},
        }
    )  # fmt: skip


def run(work: Work, turns: Turns) -> None:
    judge = FakeJudge(work.judge_seconds)

    class Scores:
        teachers = ()

        async def score(self, request: Request, raw: str) -> StoryScore:  # noqa: ARG002
            return StoryScore({"length": await judge.score(raw)})

    class FixedLengths(Gatherer):
        def _sampling_of(self, name: str, place: Place, prompt: int) -> dict[str, Any]:
            group, story = place
            return super()._sampling_of(name, place, prompt) | {
                "max_tokens": work.lengths[group][story],
                "ignore_eos": True,
            }

    log_step = Run.log_step

    def log_and_wait(self: Run, step: int, shares: dict[str, float], **more: Any) -> None:
        log_step(self, step, shares, **more)
        metrics = more["also"]
        phases = {
            "rollout": metrics.get("seconds_writing", 0.0),
            "update": metrics["seconds_update"],
            "sync": metrics["seconds_sync"],
            "judge": judge.seconds_of_step(),
            "waiting": metrics["seconds_waiting"],
        }
        turns.done(round(metrics["tokens_drawn"]), phases)

    rollouts.make_scoring = lambda *_: Scores()  # type: ignore[assignment,attr-defined]
    rollouts.Gatherer = FixedLengths  # type: ignore[attr-defined]
    Run.log_step = log_and_wait  # type: ignore[method-assign]
    grpo(settings_of(work))


if __name__ == "__main__":
    take_turns(run)
