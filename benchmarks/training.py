"""Our recipes compared with TRL's trainers on the same tokens: speed, and memory at 16,384 tokens.

    python -m benchmarks.training [--miniature]

The starter model's figures are those of benchmarks/training_starter.py and benchmarks/grpo_starter.py, which it runs at the end.

**Speed.** For the demo model's shape and one of 60 million parameters, steps of ours and of TRL's own training loop alternate in one process: `sft`,
`dpo` and `reward_model`, on texts of 200 to 4,000 words and on texts of equal length. TRL has its best settings (benchmarks/trl_peer.py); its
fastest batch size is measured first. Both compute in bfloat16 with float32 weights and moments: TRL by autocast, ours by bfloat16 weights and
float32 copies. Gradient checkpointing is on in both, and off in both in further measures. A ratio is the median of pairs, with its 95 % interval in
the note.

**Memory.** The peak memory of a step of `sft` on one text of 16,384 tokens, minus the memory before the model is made, in a process of its own.
`memory_vs_dense` is for log-probabilities and their gradients only, with a vocabulary of 32,000, compared with plain torch with all logits.

**GPU.** Model FLOPs utilisation on a model of Qwen3.5-9B's shape, if there is a GPU (benchmarks/mfu.py).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3ForSequenceClassification,
    logging,
)

from benchmarks import mfu, trl_peer
from benchmarks.race import PROMPT, THREADS, Plan, our_step, peak, race, ratio
from benchmarks.report import ROOT, Measure, write
from benchmarks.trl_peer import Recipe
from training.common.records import Sample
from training.config.learner import LearnerSettings
from training.objectives.logprobs import token_logprobs

RECIPES: tuple[Recipe, ...] = ("sft", "dpo", "reward_model")
SHAPES: dict[str, dict[str, Any]] = {
    "demo": {
        "vocab_size": 5120, "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "60m": {
        "vocab_size": 32_000, "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 9, "num_attention_heads": 8,
        "num_key_value_heads": 4,
    },
}  # fmt: skip
LONG = 16_384


def new_model(shape: str, reward: bool = False) -> PreTrainedModel:
    config = Qwen3Config(
        **SHAPES[shape], head_dim=64, max_position_embeddings=32_768, tie_word_embeddings=False, use_cache=False,
        pad_token_id=0, eos_token_id=2, num_labels=1,
    )  # fmt: skip
    torch.manual_seed(0)
    return Qwen3ForSequenceClassification(config) if reward else Qwen3ForCausalLM(config)


def learner(*, checkpointing: bool) -> LearnerSettings:
    return LearnerSettings(
        precision="bfloat16", gradient_checkpointing=checkpointing, tokens_per_micro_batch=4096, threads=THREADS
    )


PLANS = {"demo": Plan(8, 4000, 7), "60m": Plan(4, 4000, 6)}
MINIATURE = {"demo": Plan(2, 400, 1)}


def speed(shape: str, plan: Plan, tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[Measure, dict[str, Any]]]:
    races = [(recipe, mixed, True) for recipe in RECIPES for mixed in (True, False)]
    races += [("sft", True, False), ("dpo", True, False)]
    for recipe, mixed, checkpointing in races:
        name = f"{recipe}_speedup_{shape}_{'mixed' if mixed else 'equal'}{'' if checkpointing else '_all_activations'}"
        settings = learner(checkpointing=checkpointing)
        ratios, facts = race(recipe, partial(new_model, shape), tokenizer, plan, settings, mixed=mixed)
        yield ratio(name, ratios, facts), {name: facts}


def step_memory(who: str, tokens: int) -> float:
    """Return the peak MiB of one step. Call it in a process of its own."""
    torch.set_num_threads(THREADS)
    rng = np.random.default_rng(3)
    sample = Sample.from_lists(
        rng.integers(3, 32_000, tokens).tolist(), [float(place >= PROMPT) for place in range(tokens)]
    )
    with peak() as found:
        if who == "ours":
            our_step("sft", new_model("60m"), [(sample,)], learner(checkpointing=True))()
        elif who == "trl":
            tokenizer = PreTrainedTokenizerFast.from_pretrained(ROOT / "demo" / "model")
            settings = learner(checkpointing=True)
            trl_peer.steps("sft", new_model("60m"), tokenizer, [(sample,)], settings, count=1, batch=1)
        else:
            hidden = torch.randn(tokens, 512, dtype=torch.bfloat16, requires_grad=True)
            weight = torch.randn(32_000, 512, dtype=torch.bfloat16, requires_grad=True)
            targets = torch.from_numpy(sample.tokens).long()
            if who == "chunked":
                logprobs = token_logprobs(hidden, weight, targets)
            else:
                logprobs = (hidden @ weight.T).float().log_softmax(-1).gather(1, targets[:, None])[:, 0]
            logprobs.sum().backward()
    return found[0]


def memory(tokens: int) -> Iterator[Measure]:
    taken = {}
    for who in ("ours", "trl", "chunked", "dense"):
        command = [sys.executable, "-m", "benchmarks.training", "--memory", who, "--tokens", str(tokens)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        taken[who] = json.loads(done.stdout.splitlines()[-1])
        print(f"memory of {who}: {taken[who]:,.0f} MiB", flush=True)
    yield Measure(
        "memory_vs_trl",
        round(taken["ours"] / taken["trl"], 3),
        "ratio",
        "lower",
        peer="TRL",
        peer_value=1.0,
        note=f"a step of sft on {tokens:,} tokens, 60 M parameters: {taken['ours']:,.0f} against {taken['trl']:,.0f} MiB",
    )
    yield Measure(
        "memory_vs_dense",
        round(taken["chunked"] / taken["dense"], 3),
        "ratio",
        "lower",
        peer="plain torch",
        peer_value=1.0,
        note=(
            f"log-probabilities of {tokens:,} tokens and their gradients, vocabulary 32,000: "
            f"{taken['chunked']:,.0f} against {taken['dense']:,.0f} MiB"
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--miniature", action="store_true", help="few and short steps, to see whether it runs")
    parser.add_argument("--memory", choices=["ours", "trl", "chunked", "dense"], help=argparse.SUPPRESS)
    parser.add_argument("--tokens", type=int, default=LONG, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.set_verbosity_error()
    if options.memory:
        print(json.dumps(step_memory(options.memory, options.tokens)))
        return
    torch.set_num_threads(THREADS)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(ROOT / "demo" / "model")
    plans = MINIATURE if options.miniature else PLANS
    measures: list[Measure] = []
    facts: dict[str, Any] = {}
    for shape, plan in plans.items():
        for measure, found in speed(shape, plan, tokenizer):
            measures.append(measure)
            facts |= found
    measures += memory(1024 if options.miniature else LONG)
    measures += mfu.measures()
    settings = {
        "versions": {name: version(name) for name in ("torch", "transformers", "trl")},
        "threads": THREADS,
        "plans": {shape: asdict(plan) for shape, plan in plans.items()},
        "precision": "bfloat16, float32 weights and moments in the optimizer",
        "gradient_checkpointing": "on in both (ours keeps the outputs of attention), except in measures named all_activations",
        "trl": trl_peer.steps.__doc__,
        "races": facts,
    }
    write("training", measures, settings, miniature=options.miniature)
    for module, small in (("training_starter", "--miniature"), ("grpo_starter", "--small")):
        command = [sys.executable, "-m", f"benchmarks.{module}", *([small] if options.miniature else [])]
        subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
