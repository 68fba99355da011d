"""Makes the scorer of a run: its rewards, with the judges and models that they need."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from training.config.declarations import Resources
from training.config.teacher import TeacherSettings
from training.constitution.principles import read_principles
from training.datasets.encoding import ChatEncoder
from training.learner import processes
from training.rewards import quality
from training.rewards.embedding import load_sentence_vectors
from training.rewards.preference_model import PreferenceModel
from training.rewards.registry import needs_of
from training.rewards.scoring import Scoring, asking
from training.rewards.settings import RewardSettings
from training.rollouts.settings import GroupSettings
from training.teacher.client import Teacher


def make_scoring(settings: GroupSettings, encoder: ChatEncoder, began: datetime, say: Callable[[str], None]) -> Scoring:
    """The rewards of a run that `began` then, with only the resources that they need. Their teachers' calls are stored in the run's folder."""
    given, needs = settings.rewards, needs_of(settings.rewards.weights)
    teachers: list[Teacher] = []
    found: dict[str, Any] = {}

    def ask(need: str, teacher: TeacherSettings, calls: Path) -> None:
        teachers.append(Teacher(teacher, calls, say=say))
        found[need] = asking(teachers[-1])

    if "judge" in needs and given.judge:
        ask("judge", given.judge, settings.run_dir / "judge.jsonl")
    if "ranges" in needs and given.ranges:
        ask("ranges", given.ranges, settings.run_dir / "ranges.jsonl")
    if "constitution" in needs and given.constitution:
        found["constitution"] = read_principles(given.constitution)
    if "preference" in needs and given.preference:
        found["preference"] = PreferenceModel(given.preference, processes.device(), settings.learner.precision, began)
    if "embeddings" in needs:
        found["embeddings"] = load_sentence_vectors(settings.model, encoder)
    return Scoring(given, Resources(**found), teachers)


def make_second_judge(settings: GroupSettings, say: Callable[[str], None]) -> Scoring | None:
    """The second judge, which gives no reward; None if there is none."""
    judge = settings.guards.judge
    if judge is None:
        return None
    teacher = Teacher(judge, settings.run_dir / "second-judge.jsonl", say=say)
    only = RewardSettings(weights={quality.REWARD.name: 1.0}, judge=judge)
    return Scoring(only, Resources(judge=asking(teacher)), [teacher])
