"""Model FLOPs utilisation of `sft` and `dpo` on one GPU: a random model of Qwen3.5-9B's shape, texts of 8,192 tokens.

    python -m benchmarks.mfu [--layers N]

Utilisation is the model's FLOPs (training/planning/costs.py, without recomputation) divided by those that the GPU could have done in that time.
The floor in the note is the time at the GPU's full FLOP/s.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Qwen3_5ForCausalLM, Qwen3_5TextConfig

from benchmarks.report import Measure, write
from training.common.records import Sample
from training.config.learner import LearnerSettings, Lora
from training.datasets.encoding import Pairs
from training.learner.engine import Learner, dtype_of
from training.learner.models import can_pack, prepare
from training.learner.processes import device
from training.planning.costs import CARDS, forward_flops
from training.planning.shapes import read_shape
from training.recipes.dpo import DpoSettings
from training.recipes.dpo.loop import dpo_pair_loss
from training.recipes.pairs import learn_pairs
from training.recipes.sft.loop import learn

TOKENS, TEXTS, STEPS, PROMPT = 8192, 4, 5, 256


def measures(layers: int = 32) -> Iterator[Measure]:
    """Yield a measure for each recipe, with adapters and with all weights, or the reason why there is none."""
    setting = f"aim 0.45; a random model of Qwen3.5-9B's shape with {layers} of 32 layers, texts of {TOKENS:,} tokens"
    for recipe in ("sft", "dpo"):
        for adapters in (True, False):
            value, note = utilisation(recipe, layers, adapters=adapters)
            name = f"{recipe}_mfu_{'lora' if adapters else 'all_weights'}"
            yield Measure(name, value, "share", "higher", note=f"{note}; {setting}")


def utilisation(recipe: str, layers: int, *, adapters: bool) -> tuple[float | None, str]:
    """Return the utilisation and a note, or None and the reason why it cannot be measured."""
    if not torch.cuda.is_available():
        return None, "not measured: there is no GPU"
    gpu = torch.cuda.get_device_name()
    card = next((one for key, one in CARDS.items() if key.split("-")[0].upper() in gpu), None)
    if card is None:
        return None, f"not measured: {gpu} is not known"
    try:
        seconds, flops = step_of(
            recipe, Qwen3_5TextConfig(num_hidden_layers=layers, use_cache=False), adapters=adapters
        )
    except torch.OutOfMemoryError:
        return None, f"not measured: it does not fit {gpu}"
    finally:
        torch.cuda.empty_cache()
    floor = flops / card.flops
    return round(floor / seconds, 3), f"{seconds:.2f} s a step, {floor:.2f} s at full FLOP/s, on {gpu}"


def step_of(recipe: str, config: Qwen3_5TextConfig, *, adapters: bool, tokens: int = TOKENS) -> tuple[float, float]:
    """Return the seconds of a step on TEXTS texts (the median of STEPS, after one for warming up), and the model's FLOPs."""
    settings = LearnerSettings(lora=Lora() if adapters else None, tokens_per_micro_batch=2 * tokens)
    torch.manual_seed(0)
    with device():
        model = Qwen3_5ForCausalLM(config).to(dtype_of(settings))
    learner = Learner(prepare(model, settings), settings, packed=can_pack(model, settings, print))
    rng = np.random.default_rng(0)
    weights = [float(place >= min(PROMPT, tokens // 2)) for place in range(tokens)]
    samples = [Sample.from_lists(rng.integers(0, config.vocab_size, tokens).tolist(), weights) for _ in range(TEXTS)]
    step = _step(recipe, learner, samples)
    seconds = []
    for _ in range(STEPS + 1):
        began = time.perf_counter()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.json")
        path.write_text(json.dumps(config.to_dict(), default=str))
        shape = read_shape(path)
    passes = 2 + (not adapters)  # forward, gradients of inputs, and of weights where they are trained
    return statistics.median(seconds[1:]), passes * TEXTS * tokens * forward_flops(shape, tokens)


def _step(recipe: str, learner: Learner, samples: list[Sample]) -> Callable[[], Any]:
    def sft() -> None:
        learn(learner, [(sample,) for sample in samples])
        learner.update(1e-6)

    examples = list(zip(samples[0::2], samples[1::2]))
    count = len(examples)
    pairs = Pairs(examples, [1.0] * count, [1] * count, [0.0] * count)
    settings = DpoSettings(run_dir=Path(), model=Path(), data=(Path(),))
    # zeros in place of the reference, which is computed once before the first step
    pair_loss = dpo_pair_loss(torch.zeros(count, 2, device=learner.device), learner, pairs, settings)

    def dpo() -> None:
        learn_pairs(learner, pairs, range(count), pair_loss)
        learner.update(1e-6)

    return sft if recipe == "sft" else dpo


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=32, help="fewer, to train all weights on one GPU")
    write("mfu", list(measures(parser.parse_args().layers)))
