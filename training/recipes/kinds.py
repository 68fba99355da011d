"""The recipes by name, with their settings. No torch is imported here, so that a page can check a run before anything starts."""

from __future__ import annotations

from training.recipes.grpo_settings import GrpoSettings
from training.recipes.settings import DpoSettings, PretrainSettings, RecipeSettings, RewardModelSettings, SftSettings

RECIPES: dict[str, type[RecipeSettings]] = {
    "pretrain": PretrainSettings,
    "sft": SftSettings,
    "reward_model": RewardModelSettings,
    "dpo": DpoSettings,
    "grpo": GrpoSettings,
}
