"""A layer multiplied with the sum of its weights and its adapter does what peft's two products do."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear
from torch import nn
from transformers import PreTrainedModel

from tests.training import models
from training.config.learner import LearnerSettings, Lora
from training.learner.merged import merge_in_products
from training.learner.models import prepare


class Layer(nn.Module):
    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(24, 40, bias=bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.linear(inputs)
        return out


def adapted(*, bias: bool, **changes: Any) -> Any:
    torch.manual_seed(0)
    config = LoraConfig(target_modules=["linear"], r=4, lora_alpha=12, **changes)
    model = get_peft_model(Layer(bias=bias), config)
    for one in model.parameters():  # an adapter begins with zeros
        nn.init.normal_(one)
    return model


def results(model: Any, inputs: torch.Tensor) -> list[torch.Tensor]:
    given = inputs.clone().requires_grad_()
    out = model(given)
    trained = [one for one in model.parameters() if one.requires_grad]
    return [out, *torch.autograd.grad((out**2).sum(), [given, *trained])]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(7, 24), (2, 5, 24)])
def test_outputs_and_gradients_are_those_of_peft(shape: tuple[int, ...], bias: bool) -> None:
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    theirs = adapted(bias=bias)
    ours = copy.deepcopy(theirs)
    merge_in_products(ours)
    for expected, found in zip(results(theirs, inputs), results(ours, inputs), strict=True):
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
    with ours.disable_adapter():
        assert torch.equal(ours(inputs), ours.base_model.model.linear.base_layer(inputs))


def ways(model: PreTrainedModel) -> set[bool]:
    """Whether the layers with adapters multiply once."""
    return {"forward" in vars(one) for one in model.modules() if isinstance(one, Linear)}


@pytest.mark.parametrize(
    ("dropout", "zero_stage", "dtype", "once"),
    [
        (0.0, 0, torch.float32, True),
        (0.1, 0, torch.float32, False),
        (0.0, 3, torch.float32, False),
        (0.0, 0, torch.bfloat16, False),
    ],
)
def test_only_where_the_sum_is_exact_and_whole(dropout: float, zero_stage: Any, dtype: torch.dtype, once: bool) -> None:
    settings = LearnerSettings(
        gradient_checkpointing=False, zero_stage=zero_stage, lora=Lora(rank=4, alpha=8, dropout=dropout)
    )
    assert ways(prepare(models.random_model("llama").to(dtype), settings)) == {once}
