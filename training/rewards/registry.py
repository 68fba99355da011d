"""The rewards by name: ours, and those that other installed packages declare under the entry point `longhand.rewards`. No torch is imported here."""

from __future__ import annotations

from collections.abc import Iterable

from training.config.declarations import Need, Reward, by_name, found_outside
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
REWARDS: dict[str, Reward] = by_name([*OURS, *found_outside("longhand.rewards", Reward)])


def needs_of(names: Iterable[str]) -> set[Need]:
    """What the rewards of these names need together."""
    return {need for name in names for need in REWARDS[name].needs}
