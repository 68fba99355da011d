"""The adapter that a run continues: its rank and alpha are the run's, and what is not plain LoRA is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training.common.errors import MendableError
from training.config.adapter import read_lora, with_adapter
from training.config.fields import fields_of
from training.recipes.dpo import DpoSettings
from training.recipes.grpo import GrpoSettings
from training.recipes.registry import RECIPES

PLAIN: dict[str, Any] = {"peft_type": "LORA", "r": 4, "lora_alpha": 12, "bias": "none", "init_lora_weights": True}


def adapter(folder: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(PLAIN | changes))
    (folder / "adapter_model.safetensors").touch()
    return folder


def settings(folder: Path, lora: dict[str, Any] | None = None, kind: Any = DpoSettings, **changes: Any) -> Any:
    values: dict[str, Any] = {
        "run_dir": folder / "run", "model": folder / "model", "data": (folder / "data.jsonl",), "adapter": adapter(folder / "adapter"),
        "learner": {"lora": lora},
    }  # fmt: skip
    if kind is GrpoSettings:
        values["rewards"] = {"weights": {"repetition": -1.0}}
    return kind.model_validate(values | changes)


@pytest.mark.parametrize("lora", [None, {}, {"dropout": 0.25}, {"rank": 4}, {"rank": 4, "alpha": 12}])
@pytest.mark.parametrize("kind", [DpoSettings, GrpoSettings])
def test_rank_and_alpha_are_the_adapters_where_they_are_not_given(
    lora: dict[str, Any] | None, kind: Any, tmp_path: Path
) -> None:
    found = with_adapter(settings(tmp_path, lora, kind))
    assert found.learner.lora.model_dump() == {"dropout": 0.0} | (lora or {}) | {"rank": 4, "alpha": 12}
    assert type(found.learner) is kind.model_fields["learner"].annotation
    assert with_adapter(type(found).model_validate_json(found.model_dump_json())) == found


def test_without_an_adapter_nothing_changes(tmp_path: Path) -> None:
    given = settings(tmp_path, {"rank": 7}, adapter=None)
    assert with_adapter(given) is given


@pytest.mark.parametrize(
    ("lora", "name"), [({"rank": 32}, "rank"), ({"alpha": 64}, "alpha"), ({"rank": 4, "alpha": 8}, "alpha")]
)
def test_another_rank_or_alpha_is_refused(lora: dict[str, int], name: str, tmp_path: Path) -> None:
    with pytest.raises(
        MendableError, match=rf"which the run continues, has {name} .*learner.lora.{name} is {lora[name]}"
    ):
        with_adapter(settings(tmp_path, lora))


@pytest.mark.parametrize(
    "changes",
    [
        {"peft_type": "IA3"}, {"use_dora": True}, {"use_rslora": True}, {"bias": "all"}, {"modules_to_save": ["score"]}, {"rank_pattern": {"q_proj": 8}},
        {"alpha_pattern": {"q_proj": 8}}, {"layers_to_transform": [0]}, {"trainable_token_indices": [3]}, {"init_lora_weights": "pissa_niter_4"},
        {"init_lora_weights": "olora"},
    ],
)  # fmt: skip
def test_what_is_not_plain_lora_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(MendableError, match="cannot be continued, since it is not plain LoRA: merge it into its model"):
        read_lora(adapter(tmp_path / "adapter", **changes))


def test_adapters_of_others_are_taken(tmp_path: Path) -> None:
    assert read_lora(adapter(tmp_path / "adapter", init_lora_weights="gaussian", lora_alpha=16.0)) == {
        "rank": 4,
        "alpha": 16,
    }


@pytest.mark.parametrize(
    "changes", [{"r": 0}, {"r": 100_000}, {"lora_alpha": 0.5}, {"lora_alpha": None}, {"r": "many"}]
)
def test_a_rank_that_no_run_may_have_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(MendableError, match="is not one that a run may have"):
        read_lora(adapter(tmp_path / "adapter", **changes))


def test_what_is_no_adapter_is_refused_in_words(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    with pytest.raises(MendableError, match=r"There is no adapter in .*: it has no adapter_config\.json"):
        read_lora(folder)
    adapter(folder)
    for text in ("", "[]", "null", '{"peft_type": "LORA"}'):
        (folder / "adapter_config.json").write_text(text)
        with pytest.raises(MendableError, match=r"cannot be read: adapter_config\.json"):
            read_lora(folder)
    (adapter(folder) / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(MendableError, match=r"it has no adapter_model\.safetensors\. It has a pickle"):
        read_lora(folder)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_may_continue_one_and_no_form_asks_for_its_path(recipe: str) -> None:
    kind = RECIPES[recipe].settings
    assert kind.model_fields["adapter"].default is None
    assert "adapter" not in {one.name for one in fields_of(kind)}
