"""Training adapters of the starter model compared with TRL's trainers, and with the floor of the arithmetic on this machine.

    python -m benchmarks.training_starter [--miniature]

Steps of `sft` and `dpo` alternate as in benchmarks.training, on a model of the starter's shape with random weights: adapters of rank 16 on all
linear layers in both, all activations kept in both (the memory suffices, and TRL is fastest so), and the precision that this machine is fastest in.
Texts have 200 to 1,600 words, or are of equal length.

The floor of a step is the time of its matrix products alone: those of this step's tokens with the model's and the adapters' weights, forward and
backward, and the attention's, at the speed that this machine reaches for products of these shapes. It is stated in the notes.

`starter_memory_vs_trl` compares the peaks of processes that do one step of sft on the mixed texts, minus the memory before the model is made.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast, logging

from benchmarks import trl_peer
from benchmarks.race import THREADS, Plan, our_step, peak, race, ratio, texts_of
from benchmarks.report import ROOT, Measure, write
from benchmarks.trl_peer import Recipe
from training.common.heap import UNBROKEN
from training.config.learner import LearnerSettings, Lora
from training.learner.batches import Example
from training.learner.engine import dtype_of

CONFIG = LlamaConfig(
    vocab_size=49_152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
    max_position_embeddings=8192, tie_word_embeddings=True, use_cache=False, pad_token_id=2, eos_token_id=2,
)  # fmt: skip
"""SmolLM2-135M-Instruct's."""
SETTINGS = LearnerSettings(gradient_checkpointing=False, lora=Lora(rank=16, alpha=32), threads=THREADS)
PLAN, MINIATURE = Plan(4, 1600, 6), Plan(2, 300, 1)
RECIPES: tuple[Recipe, ...] = ("sft", "dpo")


def new_model(reward: bool = False) -> PreTrainedModel:  # noqa: ARG001
    torch.manual_seed(0)
    return LlamaForCausalLM(CONFIG)


def floor(examples: list[Example]) -> float:
    """Return the least seconds of a step: its matrix products at this machine's speed for products of these shapes."""
    rows, dtype = 2048, dtype_of(SETTINGS)
    lora = SETTINGS.lora or Lora()
    hidden, wide, heads = CONFIG.hidden_size, CONFIG.intermediate_size, CONFIG.hidden_size // CONFIG.num_attention_heads
    shared = heads * CONFIG.num_key_value_heads
    linear = [(hidden, hidden)] * 2 + [(hidden, shared)] * 2 + [(hidden, wide)] * 2 + [(wide, hidden)]
    seconds = 0.0  # of one token
    for inputs, outputs in linear:
        # forward, and the gradient of the inputs, with the sum of weights and adapter; two products for each gradient of an adapter's weights
        seconds += 2 * _product(rows, inputs, outputs, dtype)
        seconds += 2 * (_product(rows, inputs, lora.rank, dtype) + _product(rows, lora.rank, outputs, dtype))
    seconds = CONFIG.num_hidden_layers * seconds + 2 * _product(rows // 4, hidden, CONFIG.vocab_size, dtype)
    total: float = sum(len(sample) for example in examples for sample in example) * seconds
    # the attention's: two products forward and five backward, of half of all pairs of tokens
    for length in (len(sample) for example in examples for sample in example):
        pairs = 7 * length**2 / 2 * CONFIG.num_hidden_layers * CONFIG.num_attention_heads
        total += pairs * _product(512, heads, 512, dtype) / 512
    return total


def _product(rows: int, inputs: int, outputs: int, dtype: torch.dtype) -> float:
    """Return the seconds for one of the rows of a product [rows, inputs] @ [inputs, outputs]."""
    left, right = torch.randn(rows, inputs, dtype=dtype), torch.randn(inputs, outputs, dtype=dtype)
    out = left @ right
    found: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        torch.mm(left, right, out=out)
        found.append(time.perf_counter() - began)
    return min(found) / rows


def speed(plan: Plan, tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[Measure, dict[str, Any]]]:
    for recipe in RECIPES:
        for mixed in (True, False):
            name = f"starter_{recipe}_speedup_{'mixed' if mixed else 'equal'}"
            ratios, facts = race(recipe, new_model, tokenizer, plan, SETTINGS, mixed=mixed)
            least = floor(texts_of(recipe, plan, CONFIG.vocab_size, mixed=mixed))
            facts["floor_tokens_per_second"] = round(facts["tokens_of_a_step"] / least)
            measured = ratio(name, ratios, facts)
            note = f"{measured.note}; the products alone {facts['floor_tokens_per_second']:,} tokens/s"
            yield replace(measured, note=note), {name: facts}


def memory(plan: Plan, batch: int, *options: str) -> Measure:
    taken = {}
    for who in ("ours", "trl"):
        command = [
            sys.executable,
            "-m",
            "benchmarks.training_starter",
            "--memory",
            who,
            "--batch",
            str(batch),
            *options,
        ]
        heap = UNBROKEN if who == "ours" else {}  # as each uses least: with it, TRL's takes more
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=os.environ | heap)
        taken[who] = json.loads(done.stdout.splitlines()[-1])
    note = (
        f"a step of sft on {plan.texts} texts of 200 to {plan.words:,} words, TRL's in batches of {batch}: "
        f"{taken['ours']:,.0f}, in the environment of a worker's run, against {taken['trl']:,.0f} MiB"
    )
    value = round(taken["ours"] / taken["trl"], 3)
    return Measure("starter_memory_vs_trl", value, "ratio", "lower", peer="TRL", peer_value=1.0, note=note)


def step_memory(who: str, plan: Plan, batch: int, tokenizer: PreTrainedTokenizerFast) -> float:
    """Return the peak MiB of one step. Call it in a process of its own."""
    examples = texts_of("sft", plan, CONFIG.vocab_size, mixed=True)
    with peak() as found:
        if who == "ours":
            our_step("sft", new_model(), examples, SETTINGS)()
        else:
            trl_peer.steps("sft", new_model(), tokenizer, examples, SETTINGS, count=1, batch=batch)
    return found[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--miniature", action="store_true", help="few and short steps, to see whether it runs")
    parser.add_argument("--memory", choices=["ours", "trl"], help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.set_verbosity_error()
    torch.set_num_threads(THREADS)
    plan = MINIATURE if options.miniature else PLAN
    tokenizer = PreTrainedTokenizerFast.from_pretrained(ROOT / "demo" / "model")
    if options.memory:
        print(json.dumps(step_memory(options.memory, plan, options.batch, tokenizer)))
        return
    measures: list[Measure] = []
    facts: dict[str, Any] = {}
    for measure, found in speed(plan, tokenizer):
        measures.append(measure)
        facts |= found
    best = facts["starter_sft_speedup_mixed"]["trl_batch"]
    measures.append(memory(plan, best, *(["--miniature"] if options.miniature else [])))
    settings = {
        "versions": {name: version(name) for name in ("torch", "transformers", "trl", "peft")},
        "threads": THREADS,
        "precision": str(dtype_of(SETTINGS)).removeprefix("torch."),
        "learner": SETTINGS.model_dump(
            mode="json", include={"lora", "gradient_checkpointing", "tokens_per_micro_batch"}
        ),
        "trl": trl_peer.steps.__doc__,
        "races": facts,
    }
    write("training-starter", measures, settings, miniature=options.miniature)


if __name__ == "__main__":
    main()
