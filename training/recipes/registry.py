"""All recipes, and all stages that make data, by name: ours, and those of other installed packages. Does not import torch."""

from __future__ import annotations

from pathlib import Path

from pydantic import ConfigDict

from training.common.errors import MendableError
from training.config.declarations import Command, Recipe, Registry, Stage
from training.config.recipe import RecipeSettings
from training.config.settings import Settings, read_settings
from training.constitution.settings import PAIRS, VIOLATIONS
from training.corpus.settings import CORPUS
from training.instruct.data_settings import REFERENCES, TOOLS
from training.instruct.settings import BACKTRANSLATE
from training.recipes import dpo, grpo, pretrain, reward_model, sft
from training.test_model.settings import DEMO

OTHER_COMMANDS = {
    "plan": "Estimates what a run needs: the memory of each GPU, tokens, hours.",
    "report": "Writes report.html, a page with the charts of a run, into its folder.",
    "export": "Writes the newest checkpoint of a run of the demo model as a model.",
    "evaluate": "Measures the demo model on the held-out stories of its run.",
    "card": "Writes the demo model's card from its run and its measurements.",
}
"""Commands of `python -m training` with arguments of their own."""
_STAGES = (VIOLATIONS, BACKTRANSLATE, REFERENCES, TOOLS)
_TAKEN = {*OTHER_COMMANDS, *(one.name for one in (CORPUS, PAIRS, DEMO, *_STAGES))}

RECIPES = Registry(
    Recipe, [one.RECIPE for one in (pretrain, sft, reward_model, dpo, grpo)], "longhand.recipes", taken=_TAKEN
)
STAGES = Registry(Stage, _STAGES, "longhand.stages", taken=_TAKEN | RECIPES.keys())
COMMANDS: dict[str, Command] = {one.name: one for one in (CORPUS, *RECIPES.values(), *STAGES.values(), PAIRS, DEMO)}
"""Everything that `python -m training NAME FILE` runs."""


class _RecipeName(Settings):
    """A settings file, of which only the name of the recipe is read."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    recipe: str = ""


def read_run(path: Path) -> tuple[Recipe, RecipeSettings]:
    """Return the recipe that a settings file names, and its settings. Raises MendableError for a file that is not valid."""
    name = read_settings(path, _RecipeName).recipe
    if name not in RECIPES:
        problem = f"names an unknown recipe, {name!r}" if name else "does not name its recipe"
        raise MendableError(
            f'The settings file {path} {problem}: write recipe = "..." with one of {", ".join(RECIPES)}.'
        )
    recipe = RECIPES[name]
    settings = read_settings(path, recipe.settings)
    assert isinstance(settings, RecipeSettings)
    return recipe, settings
