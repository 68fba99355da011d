"""The rewards by name: ours, and those that other installed packages declare under the entry point `longhand.rewards`. No torch is imported here."""

from __future__ import annotations

from collections.abc import Iterable

from training.common.errors import MendableError
from training.config.declarations import Need, Registry, Reward
from training.rewards.blank import REWARD as BLANK
from training.rewards.form import REWARD as FORM
from training.rewards.length import REWARD as LENGTH
from training.rewards.paraphrase import REWARD as PARAPHRASE
from training.rewards.preference import REWARD as PREFERENCE
from training.rewards.principles import REWARD as PRINCIPLES
from training.rewards.quality import REWARD as QUALITY
from training.rewards.range import REWARD as RANGE
from training.rewards.repetition import REWARD as REPETITION

OURS = [QUALITY, PREFERENCE, PRINCIPLES, LENGTH, RANGE, REPETITION, PARAPHRASE, BLANK, FORM]
"""In the order of a form."""
REWARDS = Registry(Reward, OURS, "longhand.rewards")


def needs_of(names: Iterable[str]) -> set[Need]:
    """What the rewards of these names need together. Raises MendableError for one that does not exist."""
    asked = list(names)
    if unknown := [name for name in asked if name not in REWARDS]:
        raise MendableError(f"There is no reward {unknown[0]!r}: choose from {', '.join(REWARDS)}.")
    return {need for name in asked for need in REWARDS[name].needs}
