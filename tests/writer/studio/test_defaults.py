"""The initial values of a run: adapters and small micro-batches where there is no GPU, the recipe's own where there is one."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from training.recipes.registry import RECIPES
from writer.stories.models import ModelVersion
from writer.studio.defaults import defaults_of, on_processor
from writer.studio.models import Gpu, Machine
from writer.studio.operations.ask_evaluation import CONTEXT_ON_A_PROCESSOR, EACH, EACH_ON_A_PROCESSOR, evaluate_new

pytestmark = pytest.mark.django_db


@pytest.fixture
def published(model: ModelVersion) -> ModelVersion:
    return ModelVersion.objects.create(name="Published", served_name="published", tokenizer="published/model")


def card(memory: int) -> None:
    machine, _ = Machine.objects.get_or_create(name="here", defaults={"seen": timezone.now()})
    Gpu.objects.create(machine=machine, index=machine.gpus.count(), name="card", memory=memory)


def of_a_processor(values: dict[str, Any]) -> bool:
    return bool(values["learner"]["lora"])


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_processor_trains_adapters_and_a_gpu_what_the_recipe_says(recipe: str, published: ModelVersion) -> None:
    card(0)
    child = ModelVersion.objects.create(name="its child", served_name="child", tokenizer="x", parent=published)
    for base in (published, child):
        assert on_processor(base)
        assert of_a_processor(defaults_of(recipe, base))
    asked = evaluate_new(child)
    assert (asked.each, asked.context) == (EACH_ON_A_PROCESSOR, CONTEXT_ON_A_PROCESSOR)
    card(80 * 10**9)
    assert not on_processor(child)
    assert defaults_of(recipe, child) == defaults_of(recipe, None)
    asked = evaluate_new(published)
    assert (asked.each, asked.context) == (EACH, 0)


def test_before_a_machine_is_known_only_the_starter_model_counts_as_one_for_processors(
    published: ModelVersion, settings: Settings
) -> None:
    assert not on_processor(published)
    settings.MODEL_IS_STARTER, settings.MODEL = True, "published"
    assert on_processor(published)
    assert of_a_processor(defaults_of("dpo", published))


def test_the_demo_model_keeps_values_of_its_own(model: ModelVersion) -> None:
    card(0)
    assert defaults_of("dpo", model)["learner"]["learning_rate"] == 2e-4
