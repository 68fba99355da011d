"""The plan's terms compared with published figures and with real models, and its messages for mistakes."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3_5TextConfig,
    Qwen3Config,
)

from tests.training.conftest import ROOT, made_up_story
from training.common.errors import MendableError
from training.common.text import count_words
from training.config.learner import LearnerSettings
from training.config.markers import UNTRIED
from training.learner.attention import ATTENTION
from training.objectives.logprobs import GPU_TILE
from training.planning.costs import (
    CARDS,
    TILE,
    Server,
    Setup,
    activation_bytes,
    attention_flops,
    checkpoint_bytes,
    delta_flops,
    forward_flops,
    host_bytes,
    layer_bytes,
    max_concurrent_sequences,
    memory,
    passes,
    state_bytes,
    sync_seconds,
    traffic_bytes,
    writing_seconds,
)
from training.planning.estimate import make_plan
from training.planning.machines import between_bytes
from training.planning.pauses import DISK_BANDWIDTH, HASH_BANDWIDTH
from training.planning.plan import MARK, format_plan
from training.planning.shapes import KNOWN, linears, lora_parameters, matmul_parameters, parameters, read_shape
from training.recipes.registry import read_run
from training.rollouts.settings import RolloutSettings

NINE = KNOWN["Qwen3.5-9B"]
PAPERS = ROOT / "training" / "recipes" / "files" / "papers"
SMALL: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 4, "vocab_size": 300}
CONFIGS = {
    "qwen3_5": Qwen3_5TextConfig(
        **SMALL,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=16,
        linear_value_head_dim=8,
    ),
    "qwen3": Qwen3Config(**SMALL, num_attention_heads=4, num_key_value_heads=2, head_dim=24),
    "qwen3 tied": Qwen3Config(**SMALL, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True),
    "qwen2": Qwen2Config(**SMALL, num_attention_heads=4, num_key_value_heads=1),
    "llama": LlamaConfig(**SMALL, num_attention_heads=4, num_key_value_heads=2),
    "mistral": MistralConfig(**SMALL, num_attention_heads=4, num_key_value_heads=2, head_dim=24),
    "gemma3": Gemma3TextConfig(**SMALL, num_attention_heads=4, num_key_value_heads=2, head_dim=24),
    "llama with biases": LlamaConfig(**SMALL, num_attention_heads=4, attention_bias=True, mlp_bias=True),
}


def plan(path: Path, **flags: Any) -> str:
    return format_plan(make_plan(*read_run(path), **flags))


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def on_meta(config: Any, kind: Any = AutoModelForCausalLM) -> Any:
    with torch.device("meta"):
        return kind.from_config(config)


def settings_file(folder: Path, text: str = "", **learner: Any) -> Path:
    path = folder / "run.json"
    values = {"recipe": "sft", "run_dir": "r", "model": "models/Qwen3.5-9B", "data": ["none.jsonl"], "learner": learner}
    path.write_text(text or json.dumps(values))
    return path


@pytest.mark.parametrize("name", CONFIGS)
def test_shapes_have_as_many_parameters_as_the_models_of_transformers(name: str, tmp_path: Path) -> None:
    config = CONFIGS[name]
    config.save_pretrained(tmp_path)
    shape = read_shape(tmp_path / "config.json")
    assert parameters(shape) == count(on_meta(config))
    matrices = [one for one in on_meta(config).modules() if isinstance(one, torch.nn.Linear)]
    assert matmul_parameters(shape) == sum(one.weight.numel() for one in matrices)


@pytest.mark.parametrize("name", ["qwen3_5", "llama"])
def test_the_head_of_a_reward_model_has_one_output(name: str, tmp_path: Path) -> None:
    config = CONFIGS[name]
    config.save_pretrained(tmp_path)
    config = type(config).from_pretrained(tmp_path, num_labels=1)
    made = on_meta(config, AutoModelForSequenceClassification)
    assert parameters(read_shape(tmp_path / "config.json"), head=False) == count(made)


def test_the_default_configuration_of_transformers_is_the_nine_billion(tmp_path: Path) -> None:
    config = Qwen3_5TextConfig()
    nested = {"model_type": "qwen3_5", "vision_config": {"hidden_size": 1}, "text_config": config.to_dict()}
    (tmp_path / "config.json").write_text(json.dumps(nested))
    assert read_shape(tmp_path / "config.json") == NINE
    assert parameters(NINE) == count(on_meta(config)) == 8_953_803_264


def test_what_a_published_configuration_leaves_out_is_the_default_of_transformers(tmp_path: Path) -> None:
    text = {"hidden_size": 2560, "intermediate_size": 10_240, "num_hidden_layers": 34, "sliding_window": 1024}
    nested = {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", **text}}  # as of gemma-3-4b-it
    (tmp_path / "config.json").write_text(json.dumps(nested))
    assert parameters(read_shape(tmp_path / "config.json")) == count(on_meta(Gemma3TextConfig(**text)))


@pytest.mark.parametrize(
    ("name", "billions"),
    [("Qwen3-4B", 4.02), ("Qwen3-8B", 8.19), ("Qwen3-14B", 14.77), ("Qwen3-32B", 32.76), ("Qwen2.5-7B", 7.62)]
    + [("Qwen2.5-32B", 32.76), ("Qwen2.5-72B", 72.71), ("Llama-3.1-8B", 8.03), ("Qwen3.5-27B", 26.90)],
)
def test_known_models_have_the_sizes_of_their_model_cards(name: str, billions: float) -> None:
    assert parameters(KNOWN[name]) / 1e9 == pytest.approx(billions, abs=0.005)


def test_adapters_are_as_large_as_those_of_peft(tmp_path: Path) -> None:
    config = CONFIGS["qwen3_5"]
    config.save_pretrained(tmp_path)
    adapters = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_config(config), adapters)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert lora_parameters(read_shape(tmp_path / "config.json"), 4) == trained


def test_adapters_of_rank_32_on_the_nine_billion_are_about_80_million() -> None:
    gates = sum(32 * (one.inputs + one.outputs) * one.layers for one in linears(NINE) if one.name[-2:] in ("_a", "_b"))
    assert lora_parameters(NINE, 32) - gates == pytest.approx(80.2e6, rel=0.001)


def test_flops_of_published_figures() -> None:
    assert 2 * matmul_parameters(NINE) / 1e9 == pytest.approx(15.87, abs=0.01)
    assert attention_flops(NINE, 6256) / 1e9 == pytest.approx(0.41, abs=0.005)
    assert delta_flops(NINE) / forward_flops(NINE, 6256) == pytest.approx(0.006, abs=0.001)
    assert forward_flops(NINE, 6256) / 1e9 == pytest.approx(16.4, abs=0.05)
    one_pair = 2 * 6256 * passes(LearnerSettings()) * forward_flops(NINE, 6256)
    assert one_pair / 1e12 == pytest.approx(820, rel=0.005)
    a100 = CARDS["a100-80"]
    assert one_pair / (4 * a100.flops) == pytest.approx(0.66, abs=0.01)


def test_models_without_deltanet_attend_in_every_layer() -> None:
    qwen = KNOWN["Qwen3-8B"]
    assert delta_flops(qwen) == 0
    assert attention_flops(qwen, 1000) == 36 * 4 * 32 * 128 * 500


@pytest.mark.parametrize(
    ("learner", "factor"),
    [
        ({}, 4),
        ({"gradient_checkpointing": False}, 3),
        ({"lora": {}}, 3),
        ({"lora": {}, "gradient_checkpointing": False}, 2),
    ],
)
def test_passes(learner: dict[str, Any], factor: int) -> None:
    assert passes(LearnerSettings(**learner)) == factor


def test_states_under_zero_3_are_18_bytes_a_parameter_over_the_cards() -> None:
    setup = Setup(NINE, LearnerSettings(zero_stage=3), 4, 8192)
    assert sum(state_bytes(setup).values()) / 1e9 == pytest.approx(40.3, abs=0.05)
    assert 4 * sum(state_bytes(setup).values()) / 1e9 == pytest.approx(161, abs=0.5)
    assert state_bytes(setup)["weights"] * 4 / 1e9 == pytest.approx(17.9, abs=0.05)


@pytest.mark.parametrize(
    ("learner", "bytes_of_one", "host"),
    [
        ({"zero_stage": 0}, 2 + 4 + 4 + 8, 0),
        ({"zero_stage": 0, "precision": "float32"}, 4 + 4 + 8, 0),
        ({"zero_stage": 1}, 2 + 4 + 12 / 4, 0),
        ({"zero_stage": 2}, 2 + 4 / 4 + 12 / 4, 0),
        ({"zero_stage": 3}, 18 / 4, 0),
        ({"zero_stage": 3, "precision": "float32"}, 16 / 4, 0),
        ({"zero_stage": 1, "offload": "optimizer"}, 2 + 4, 16),
        ({"zero_stage": 3, "offload": "optimizer"}, 2 / 4, 16),
        ({"zero_stage": 3, "offload": "all"}, 0, 18),
    ],
)
def test_states_by_stage_and_offload(learner: dict[str, Any], bytes_of_one: float, host: float) -> None:
    setup = Setup(NINE, LearnerSettings(**learner), 4, 8192)
    assert sum(state_bytes(setup).values()) == pytest.approx(bytes_of_one * setup.total)
    assert host_bytes(setup).get("offloaded", 0) == host * setup.total


def test_adapters_train_little_and_keep_the_weights() -> None:
    setup = Setup(NINE, LearnerSettings(zero_stage=3, lora={"rank": 32}), 4, 8192)
    states = state_bytes(setup)
    assert states["weights"] == 2 * setup.total / 4
    assert sum(states.values()) - states["weights"] == 16 * lora_parameters(NINE, 32) / 4
    assert checkpoint_bytes(setup) == 14 * lora_parameters(NINE, 32)
    assert "gradient of the head" not in activation_bytes(setup)


def test_traffic_of_zero_3_is_three_times_the_weights_of_the_others() -> None:
    setup = Setup(NINE, LearnerSettings(zero_stage=3), 4, 8192)
    assert traffic_bytes(setup) == pytest.approx(3 * 17.9e9 * 3 / 4, rel=0.001)
    assert traffic_bytes(setup) / CARDS["a100-80"].link == pytest.approx(0.17, abs=0.01)
    assert traffic_bytes(Setup(NINE, LearnerSettings(zero_stage=3), 1, 8192)) == 0
    assert traffic_bytes(Setup(NINE, LearnerSettings(zero_stage=2), 4, 8192)) == 0


def test_checkpointing_keeps_one_input_a_layer() -> None:
    learner = LearnerSettings(zero_stage=3)
    kept = activation_bytes(Setup(NINE, learner, 4, 10_000))
    assert kept["inputs of the layers"] == 10_000 * 4096 * 2 * 32
    assert kept["outputs of attention"] == 10_000 * 8 * 16 * (256 * 2 + 4)
    without = learner.model_copy(update={"gradient_checkpointing": False})
    assert sum(activation_bytes(Setup(NINE, without, 4, 10_000)).values()) > 5 * sum(kept.values())


@pytest.mark.parametrize("name", ["qwen3_5", "qwen3", "gemma3", "llama"])
def test_a_layer_saves_as_many_bytes_as_torch_counts(name: str, tmp_path: Path) -> None:
    """The bytes saved for the backward pass, counted by hooks, without the weights."""
    sizes = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "vocab_size": 300}
    delta = {
        "linear_num_key_heads": 4,
        "linear_num_value_heads": 8,
        "linear_key_head_dim": 64,
        "linear_value_head_dim": 64,
    }
    kind = type(CONFIGS[name])
    config = kind(
        **sizes, num_attention_heads=4, num_key_value_heads=2, head_dim=64, **(delta if name == "qwen3_5" else {})
    )
    config.save_pretrained(tmp_path)
    shape = read_shape(tmp_path / "config.json")
    model = AutoModelForCausalLM.from_config(config, attn_implementation=ATTENTION).to(torch.bfloat16).model
    weights = {one.untyped_storage().data_ptr() for one in model.parameters()}
    found: list[float] = []

    def counted(forward: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            kept: dict[int, torch.UntypedStorage] = {}  # kept alive, so that no address is used twice

            def keep(tensor: torch.Tensor) -> torch.Tensor:
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in weights:
                    kept[storage.data_ptr()] = storage
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                answer = forward(*args, **kwargs)
            found.append(sum(storage.nbytes() for storage in kept.values()) / 256)
            return answer

        return run

    for layer in model.layers:
        layer.forward = counted(layer.forward)
    model(input_ids=torch.zeros(1, 256, dtype=torch.long), use_cache=False)
    assert found[-1] == pytest.approx(layer_bytes(shape, delta=False), rel=0.05)
    if shape.delta:
        assert found[0] == pytest.approx(layer_bytes(shape, delta=True), rel=0.05)


def test_a_text_longer_than_a_micro_batch_is_a_micro_batch_of_its_own(tmp_path: Path) -> None:
    path = settings_file(tmp_path, zero_stage=3, tokens_per_micro_batch=1000)
    assert make_plan(*read_run(path)).setup.tokens == 16_384
    path.write_text(path.read_text().replace("sft", "dpo"))
    assert make_plan(*read_run(path)).setup.tokens == 2 * 16_384


def stories(folder: Path, numbers: range, name: str, rows: Any) -> tuple[Path, list[str]]:
    texts = [made_up_story(number, 20 + number) for number in numbers]
    path = folder / name
    lines = "".join(json.dumps(rows(text)) + "\n" for text in texts).encode()
    path.write_bytes(gzip.compress(lines) if name.endswith("gz") else lines)
    return path, texts


def planned(folder: Path, recipe: str, data: Path, **changes: Any) -> Any:
    values = {
        "recipe": recipe,
        "run_dir": "r",
        "model": "models/Qwen3.5-9B",
        "data": [str(data)],
        "learner": {"zero_stage": 3},
    }
    (folder / "run.json").write_text(json.dumps(values | changes))
    return make_plan(*read_run(folder / "run.json"), tokens_per_word=1.5)


@pytest.mark.parametrize(
    "rows",
    [
        lambda text: {"text": text},
        lambda text: {"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": text}]},
        lambda text: {"prompt": [], "completion": [{"role": "assistant", "content": text}]},
        lambda text: {"prompt": "", "completion": text},
        lambda text: {"instruction": "", "output": text},
        lambda text: {"conversations": [{"from": "human", "value": ""}, {"from": "gpt", "value": text}]},
    ],
)
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_texts_are_counted(tmp_path: Path, rows: Any, name: str) -> None:
    path, texts = stories(tmp_path, range(30), name, rows)
    found = planned(tmp_path, "sft", path, batch=8, epochs=2)
    tokens = [1.5 * count_words(text) for text in texts]
    assert found.texts.tokens == pytest.approx(sum(tokens))
    assert found.texts.longest == pytest.approx(max(tokens), abs=1)
    assert found.texts.length == pytest.approx(sum(one**2 for one in tokens) / sum(tokens))
    assert found.steps == 8  # 2 epochs of 30 / 8, whose last step takes the rest
    assert found.setup.tokens == 8192


def test_pairs_are_counted_with_their_prompt_twice(tmp_path: Path) -> None:
    path, texts = stories(
        tmp_path, range(10), "p.jsonl", lambda text: {"prompt": "a b", "chosen": text, "rejected": "c"}
    )
    found = planned(tmp_path, "dpo", path, batch=5, epochs=1)
    assert found.texts.tokens == pytest.approx(sum(1.5 * (count_words(text) + 2 + 3) for text in texts))
    assert found.steps == 2
    assert found.reference_flops == pytest.approx(found.step_flops * 2 / 4)


def test_books_are_read_in_pieces_and_texts_that_are_too_long_are_reported(tmp_path: Path) -> None:
    path, texts = stories(tmp_path, range(10, 20), "b.jsonl", lambda text: {"text": text})
    found = planned(tmp_path, "pretrain", path, context=64, batch_tokens=640)
    tokens = [1.5 * count_words(text) for text in texts]
    assert found.texts.tokens == pytest.approx(sum(tokens))
    assert found.texts.longest == 64
    assert found.texts.examples == sum(-(-one // 64) for one in tokens)
    assert found.steps == -(-sum(tokens) // 640)
    assert "longer than context (64 tokens): the run will refuse them" in format_plan(
        planned(tmp_path, "sft", path, context=64)
    )
    with pytest.raises(MendableError, match="None of the data can be used"):
        planned(tmp_path, "sft", path, context=64, overlong="drop")


def test_many_rows_are_estimated_by_their_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, texts = stories(tmp_path, range(60), "rows.jsonl", lambda text: {"text": text})
    monkeypatch.setattr("training.planning.token_counts.COUNTED_ROWS", 20)
    found = planned(tmp_path, "sft", path)
    assert found.texts.tokens == pytest.approx(1.5 * sum(map(count_words, texts)), rel=0.02)


def test_lines_without_text_are_reported_and_a_broken_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "one two"}\nnot json\n{"other": 1}\n[1]\n')
    assert "3  lines have no text" in format_plan(planned(tmp_path, "sft", path))
    broken = tmp_path / "rows.jsonl.gz"
    broken.write_bytes(b"this is not gzip")
    with pytest.raises(MendableError, match="cannot be read"):
        planned(tmp_path, "sft", broken)


def test_the_plan_says_what_fits(tmp_path: Path) -> None:
    text = plan(settings_file(tmp_path, zero_stage=3), texts=5000, words=4000)
    assert "It fits: " in text
    assert "1 GB is 10^9 bytes" in text
    assert "20  steps of 1 epoch\n" in text
    assert max(map(len, text.splitlines())) < 140


def test_the_changes_that_the_plan_suggests_make_it_fit(tmp_path: Path) -> None:
    path = settings_file(tmp_path, zero_stage=3, gradient_checkpointing=False, tokens_per_micro_batch=16_384)
    found = make_plan(*read_run(path))
    assert not found.fits
    assert found.changes == ["learner.gradient_checkpointing = true"]
    assert "learner.gradient_checkpointing = true" in plan(path)
    assert make_plan(*read_run(settings_file(tmp_path, zero_stage=3, tokens_per_micro_batch=16_384))).fits


def test_a_model_that_no_change_makes_fit(tmp_path: Path) -> None:
    path = settings_file(tmp_path, zero_stage=3)
    path.write_text(path.read_text().replace("Qwen3.5-9B", "Qwen2.5-72B-Instruct"))
    assert "no change of these settings is enough" in plan(path, gpus=1)


def test_without_zero_a_run_uses_one_gpu(tmp_path: Path) -> None:
    found = make_plan(*read_run(settings_file(tmp_path)), gpus=4)
    assert found.setup.gpus == 1
    assert "because zero_stage 0 is one process" in plan(settings_file(tmp_path))


def test_more_gpus_need_less_memory_each_and_less_time(tmp_path: Path) -> None:
    path = settings_file(tmp_path, zero_stage=3)
    few, many = make_plan(*read_run(path), gpus=2), make_plan(*read_run(path), gpus=8)
    assert memory(few.setup).peak > memory(many.setup).peak
    assert few.hours(few.step_flops) == pytest.approx(4 * many.hours(many.step_flops))
    assert few.hours(few.step_flops, 0.5) == pytest.approx(2 * few.hours(few.step_flops))


@pytest.mark.parametrize("stage", [2, 3])
def test_machines_are_more_gpus_and_need_more(tmp_path: Path, stage: int) -> None:
    path = settings_file(tmp_path, zero_stage=stage)
    two, one = make_plan(*read_run(path), gpus=4, nodes=2), make_plan(*read_run(path), gpus=8)
    assert (two.setup, two.nodes, one.nodes) == (one.setup, 2, 1)
    micro_steps = two.micro_steps if stage == 3 else 1
    sent = between_bytes(two.setup, two.micro_steps)
    copies = 3 * micro_steps if stage == 3 else 2
    assert sent == pytest.approx(copies * two.setup.bytes_per_weight * two.setup.total * 7 / 8)
    text = format_plan(two)
    assert "on 2 machines of 4 x a100-80" in text
    for need in ("1 folder", "1 port", "rendezvous", "not run", f"{sent / 1e9:.1f} GB"):
        assert need in text
    assert "machines" not in format_plan(one)


def test_without_zero_a_run_uses_one_machine(tmp_path: Path) -> None:
    assert make_plan(*read_run(settings_file(tmp_path)), gpus=4, nodes=2).nodes == 1


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        ("{}", {}, "does not name its recipe"),
        ('{"recipe": "ppo"}', {}, "unknown recipe, 'ppo'"),
        ('{"recipe": 3}', {}, "recipe: Input should be a valid string"),
        ('{"recipe": "sft", "run_dir": "r", "model": "m", "data": ["d"], "bach": 1}', {}, "bach: Extra inputs"),
        (
            '{"recipe": "sft", "run_dir": "r", "model": "my-model", "data": ["d"]}',
            {},
            "my-model is not the name of a known model",
        ),
        ("", {"gpu": "tpu"}, "The GPU 'tpu' is not known"),
        ("", {"gpus": 0}, "at least one GPU"),
        ("", {"nodes": 0}, "one machine"),
        ("", {"mfu": 1.1}, "mfu between 0 and 1"),
        ("", {"texts": 0}, "texts, words and tokens above 0"),
    ],
)
def test_mistakes_are_explained_in_one_line(tmp_path: Path, text: str, flags: dict[str, Any], message: str) -> None:
    with pytest.raises(MendableError) as caught:
        plan(settings_file(tmp_path, text), **flags)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"model_type": "mamba"}', "has model_type 'mamba'"),
        (
            '{"model_type": "mixtral", "num_local_experts": 8}',
            r"mixture of experts \(mixtral\), which cannot be trained here",
        ),
        ('{"text_config": {"model_type": "qwen3_5_moe_text", "num_experts": 8}}', "mixture of experts"),
        ('{"model_type": "qwen3", "hidden_size": 8}', "lacks 'num_hidden_layers'"),
        ('{"model_type": "qwen3", "num_hidden_layers": "x"}', "has an impossible value"),
    ],
)
def test_an_incomplete_configuration_is_refused(tmp_path: Path, config: str, message: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(MendableError, match=message):
        read_shape(tmp_path / "config.json")


@pytest.mark.processes
def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from training.planning.estimate import make_plan; from training.planning.plan import format_plan; "
        "from training.recipes.registry import read_run; format_plan(make_plan(*read_run(Path(sys.argv[1]))));"
        "print([name for name in ('torch', 'transformers', 'deepspeed') if name in sys.modules])"
    )
    path = settings_file(tmp_path, zero_stage=3)
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# GRPO: a server writes the stories on the same GPUs


def grpo_plan(
    folder: Path, lines: Sequence[dict[str, Any]] = (), *, gpus: int = 4, words: float | None = None, **changes: Any
) -> Any:
    data = folder / "requests.jsonl"
    if lines:
        data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    values: dict[str, Any] = {
        "recipe": "grpo", "run_dir": "r", "model": "models/Qwen3.5-9B", "data": [str(data)], "batch": 2, "group": 4,
        "rewards": {"weights": {"length": -1.0}}, "learner": {"zero_stage": 3}, "rollouts": {"gpu_memory": 0.2, "tensor_parallel": 4},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(values | changes))
    return make_plan(*read_run(folder / "run.json"), gpus=gpus, tokens_per_word=1.5, words=words)


def asked(*said: str, **more: Any) -> dict[str, Any]:
    roles = ["user", "assistant"]
    return {"messages": [{"role": role, "content": text} for role, text in zip(roles, said, strict=False)]} | more


def test_a_step_of_grpo_is_its_requests_times_their_stories(tmp_path: Path) -> None:
    found = grpo_plan(
        tmp_path,
        [
            asked("It should be 100 words long.", "One human word " * 20),  # 6 words, and 60 human ones
            asked("A tale, please.", target=200),
            asked("Another tale."),
            asked("One more tale. It should be 9,000 words long."),
        ],
        words=400,
        sampling={"most_tokens": 1000},
    )
    texts = found.texts
    in_other_forms: list[dict[str, Any]] = [
        {"prompt": "It should be 100 words long.", "completion": "One human word " * 20},
        {"instruction": "A tale, please.", "target": 200},
        {"prompt": [{"role": "user", "content": "Another tale."}]},
        {"conversations": [{"from": "human", "value": "One more tale. It should be 9,000 words long."}]},
    ]
    assert grpo_plan(tmp_path, in_other_forms, words=400, sampling={"most_tokens": 1000}).texts == texts
    assert texts.stories == 3 + 4 + 4 + 4
    assert texts.prompt_tokens == 1.5 * (3 * 6 + 4 * 3 + 4 * 2 + 4 * 10)  # "9,000" are two
    assert texts.answer_tokens == 3 * 150 + 4 * 300 + 4 * 600 + 4 * 1000
    assert texts.tokens == texts.prompt_tokens + texts.answer_tokens + 1.5 * (6 + 60)
    assert texts.longest == 1000 + 15  # most_tokens, whatever length was asked for
    assert found.steps == 2
    text = format_plan(found)
    assert "8  stories of the policy in a step of 2 requests" in text
    assert "0  human stories in a step" in text
    assert "sampled  at temperature 1, which is what the learner scores" in text


def test_a_request_without_room_for_an_answer_is_reported(tmp_path: Path) -> None:
    found = grpo_plan(tmp_path, [asked("one two " * 40), asked("A tale.")], context=64)
    assert "1  requests are longer than context (64 tokens): the run will refuse them" in format_plan(found)


def test_a_server_takes_its_share_of_each_card(tmp_path: Path) -> None:
    alone = Setup(NINE, LearnerSettings(zero_stage=3, tokens_per_micro_batch=16_384), 4, 16_384)
    found = grpo_plan(tmp_path)
    share = 0.2 * CARDS["a100-80"].memory
    assert memory(found.setup).peak == pytest.approx(memory(alone).peak + share)
    # 17.008 GB less 4.477 of weights and 3 of reserve, over 16,384 tokens of 8,192 bytes and 12.9 MB of states
    assert (
        found.max_concurrent_sequences
        == int((share - 8_953_803_264 * 2 / 4 - 3e9) / (16_384 * 8192 + 12_877_824))
        == 64
    )
    assert found.fits


def test_decoding_reads_the_weights_once_for_all_stories() -> None:
    server, card = Server(NINE, 4, 17e9), CARDS["a100-80"]
    one = 2 * 7_935_098_880 / 4 + 8192 * (100 + 500) + 2 * 12_877_824
    assert writing_seconds(server, card, 1, 100, 1000) == pytest.approx(1000 * one / 2.039e12, rel=0.002)
    few, many = writing_seconds(server, card, 10, 100, 1000), writing_seconds(server, card, 20, 100, 1000)
    assert few < many < 1.2 * few
    crowd = 4 * max_concurrent_sequences(server, 1100)  # a quarter of them at a time
    assert writing_seconds(server, card, crowd, 100, 1000) == pytest.approx(
        4 * writing_seconds(server, card, crowd / 4, 100, 1000), rel=0.001
    )


def test_the_longer_counts_where_stories_are_written_a_step_ahead(tmp_path: Path) -> None:
    one, other = (
        grpo_plan(tmp_path),
        grpo_plan(tmp_path, rollouts={"gpu_memory": 0.2, "tensor_parallel": 4, "max_staleness": 1}),
    )
    learning, writing, sync = one.hours(one.step_flops) + one.tile_hours, one.writing_hours, one.sync_hours
    assert sync * 3600 == pytest.approx(sync_seconds(one.setup)) == pytest.approx(2 * 2 * 8_953_803_264 / 10e9)
    assert one.step_hours() == pytest.approx(learning + writing + sync)
    assert other.step_hours() == pytest.approx(max(learning, writing) + sync)
    adapters = grpo_plan(tmp_path, learner={"zero_stage": 3, "lora": {}})
    assert adapters.sync_hours < sync / 50


def test_a_server_and_a_learner_that_do_not_fit_together(tmp_path: Path) -> None:
    large = grpo_plan(tmp_path, rollouts={"gpu_memory": 0.3, "tensor_parallel": 4}, context=20_480)
    assert not large.fits
    change = next(one for one in large.changes if "gpu_memory" in one)
    share = float(change.partition(" = ")[2])
    assert grpo_plan(tmp_path, rollouts={"gpu_memory": share, "tensor_parallel": 4}, context=20_480).fits
    small = grpo_plan(tmp_path, rollouts={"gpu_memory": 0.05, "tensor_parallel": 4})
    assert not small.fits
    assert "holds no story of 16,384 tokens" in format_plan(small)
    with pytest.raises(MendableError, match=r"lower rollouts\.tensor_parallel"):
        grpo_plan(tmp_path, gpus=2)


def test_a_server_that_the_run_does_not_start_is_left_out_of_the_plan(tmp_path: Path) -> None:
    found = grpo_plan(tmp_path, rollouts={"url": "http://elsewhere"})
    assert (found.server, found.writing_hours) == (None, 0)
    assert "it is not started by the run" in format_plan(found)
    replayed = grpo_plan(tmp_path, replay="runs/other/rollouts")
    assert (replayed.server, replayed.writing_hours, replayed.sync_hours) == (None, 0, 0)
    assert "the stories come from another run's folder" in format_plan(replayed)


def test_a_preference_model_needs_memory_beside_the_learner(tmp_path: Path) -> None:
    CONFIGS["qwen3"].save_pretrained(tmp_path / "prefers")
    rewards = {"weights": {"preference": 1.0}, "preference": str(tmp_path / "prefers")}
    with_it, without = grpo_plan(tmp_path, rewards=rewards), grpo_plan(tmp_path)
    shape = read_shape(tmp_path / "prefers" / "config.json")
    assert with_it.setup.other_bytes - without.setup.other_bytes == pytest.approx(2 * parameters(shape, head=False))
    assert "the preference model, on the first GPU" in format_plan(with_it)
    missing = grpo_plan(tmp_path, rewards=rewards | {"preference": "not/there"})
    assert "the preference model does not exist yet" in format_plan(missing)


def test_what_no_gpu_ran_is_marked_line_by_line(tmp_path: Path) -> None:
    text = format_plan(grpo_plan(tmp_path))
    of_gpus = [part for part in text.split("\n\n") if part.startswith(("Memory of each GPU", "The server", "Time"))]
    assert len(of_gpus) == 3
    assert all(line.endswith(MARK) for part in of_gpus for line in part.splitlines()[1:])
    assert f"\n{MARK} {UNTRIED}\n" in text
    for name in ("zero_stage", "offload"):
        assert UNTRIED in str(LearnerSettings.model_fields[name].description)
    for name in ("tensor_parallel", "gpu_memory"):
        assert UNTRIED in str(RolloutSettings.model_fields[name].description)


def test_tiles_checkpoints_and_shared_memory_are_counted(tmp_path: Path) -> None:
    found = grpo_plan(tmp_path)
    text = format_plan(found)
    size = 2 * 2 * 8_953_803_264
    assert f"{size / 1e9:.1f} GB of them in /dev/shm" in text
    assert f"/dev/shm needs {size / 1e9:.1f} GB: in a container its size is TRAINER_SHM." in text
    adapters = grpo_plan(tmp_path, learner={"zero_stage": 3, "lora": {}})
    assert found.tile_hours > 0 == adapters.tile_hours  # a frozen head has no gradient
    ten, one = (
        replace(found, settings=found.settings.model_copy(update={"steps": 10, "checkpoint_every": every}))
        for every in (1, 10)
    )
    saved = checkpoint_bytes(found.setup) * (1 / DISK_BANDWIDTH + 1 / HASH_BANDWIDTH)
    assert (ten.run_hours() - one.run_hours()) * 3600 == pytest.approx(9 * saved)
    begun = replace(found, settings=found.settings.model_copy(update={"steps": 0}))
    assert begun.run_hours() * 3600 == pytest.approx(size / 2 * (1 / DISK_BANDWIDTH + 1 / HASH_BANDWIDTH))
    assert "s  for the model to be read and hashed at the start" in text
    assert TILE == GPU_TILE
    assert GPU_TILE // NINE.vocabulary > 2000


def test_a_model_of_72_billion_is_loaded_in_parts() -> None:
    """No GPU of 80 GB holds it whole, and no machine holds it once for each process."""
    recipe, settings = read_run(PAPERS / "longwriter-zero-reward-model.toml")
    learner = settings.learner.model_copy(update={"tokens_per_micro_batch": 16_384})
    settings = settings.model_copy(update={"context": 8192, "learner": learner})
    found = make_plan(recipe, settings, gpus=64, gpu="a100-80", texts=1000, words=3000)
    assert 2 * found.setup.total > found.card.memory
    assert memory(found.setup).startup < 2 * found.setup.total / 64 + 3e9
    assert sum(host_bytes(found.setup).values()) < 64 * 3e9
    assert found.fits
    whole = replace(found.setup, learner=learner.model_copy(update={"zero_stage": 2}))
    assert memory(whole).startup == 2 * found.setup.total
    assert sum(host_bytes(whole).values()) == 64 * 2 * found.setup.total
