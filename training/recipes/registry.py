"""The recipes, and the stages that make data, by name, with their settings. No torch is imported here, so that a page can check a run before anything starts."""

from __future__ import annotations

from training.config.recipe import RecipeSettings
from training.config.settings import Settings
from training.constitution.settings import PairsSettings, ViolationsSettings
from training.instruct.data_settings import ReferencesSettings, ToolsSettings
from training.instruct.settings import BacktranslateSettings
from training.recipes.dpo import DpoSettings
from training.recipes.grpo import GrpoSettings
from training.recipes.pretrain import PretrainSettings
from training.recipes.reward_model import RewardModelSettings
from training.recipes.sft import SftSettings

RECIPES: dict[str, type[RecipeSettings]] = {
    "pretrain": PretrainSettings,
    "sft": SftSettings,
    "reward_model": RewardModelSettings,
    "dpo": DpoSettings,
    "grpo": GrpoSettings,
}

STAGES: dict[str, type[Settings]] = {
    "violations": ViolationsSettings,
    "backtranslate": BacktranslateSettings,
    "references": ReferencesSettings,
    "tools": ToolsSettings,
    "pairs": PairsSettings,
}
