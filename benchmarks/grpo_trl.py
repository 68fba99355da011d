"""TRL's side of `benchmarks.grpo`: its GRPOTrainer with its best settings, on the same requests with the same vLLM server.

Its fastest settings, each tried or read in its code (TRL 1.16): no pass for old log-probabilities (one iteration, and `use_vllm` off beside a
`rollout_func`), no reference model (beta 0), the fused AdamW, no log lines, SDPA, and its fastest batch size. Its rollout_func asks the server for
tokens only, without seeds and log-probabilities, which it would not use; all requests are in flight at once, and weights are transferred through
shared memory without a check; of adapters they are the adapters' alone, as ours are. Its padding-free attention and its weight transfer in `experimental.async_grpo` need GPUs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from time import perf_counter
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}

import torch
from datasets import Dataset
from peft import get_peft_model_state_dict
from transformers import AutoModelForCausalLM, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from benchmarks.grpo_work import CONTEXT, LEARNER, THREADS, FakeJudge, Turns, Work, asking, take_turns
from benchmarks.trl_peer import peft_config
from training.datasets.encoding import ChatEncoder
from training.datasets.requests import read_requests
from training.learner.models import load_tokenizer
from training.rollouts.client import TokenClient
from training.rollouts.server import GivenServer
from training.rollouts.sync import Adapter, SharedMemory, Sync


class Writer:
    """A `rollout_func` and its reward function."""

    def __init__(self, work: Work) -> None:
        self.work, self.judge = work, FakeJudge(work.judge_seconds)
        self.tokenizer = load_tokenizer(work.model)
        requests = read_requests(
            [work.folder.parent / "requests.jsonl"],
            ChatEncoder(self.tokenizer, work.model),
            thinking="none",
            room=CONTEXT,
        )
        self.prompts = {one.prompt[-1]["content"]: list(one.tokens) for one in requests}
        server = GivenServer(work.url, "ROLLOUT_KEY")
        self.client = TokenClient(server.url, server.key, server.served_as, seconds=3600)
        self.sync: Sync = Adapter(work.lora, work.model) if work.lora else SharedMemory()
        self.synced, self.model = -1, ""
        self.sizes = [size for group in work.lengths for size in group]
        self.reset()

    def reset(self) -> None:
        self.phases = {"sync": 0.0, "rollout": 0.0, "judge": 0.0}
        self.written = self.tokens = 0

    def __call__(self, prompts: Sequence[Any], trainer: GRPOTrainer) -> dict[str, Any]:
        return asyncio.run_coroutine_threadsafe(self._write(prompts, trainer), trainer.async_loop).result()

    async def _write(self, prompts: Sequence[Any], trainer: GRPOTrainer) -> dict[str, Any]:
        began = perf_counter()
        if trainer.state.global_step != self.synced:
            self.synced = trainer.state.global_step
            model = trainer.model
            self.sync.put(get_peft_model_state_dict(model) if self.work.lora else model.state_dict())
            self.model = await self.sync.load(self.client) or self.client.model
        synced = perf_counter()
        asked = [self.prompts[prompt[-1]["content"]] for prompt in prompts]
        sizes = self.sizes[self.written : self.written + len(asked)]
        found = await asyncio.gather(*map(self._story, asked, sizes))
        self.written += len(asked)
        self.tokens += sum(len(tokens) for tokens, _ in found)
        self.phases["sync"] += synced - began
        self.phases["rollout"] += perf_counter() - synced
        return {
            "prompt_ids": asked,
            "completion_ids": [tokens for tokens, _ in found],
            "logprobs": None,
            "scores": [score for _, score in found],
        }

    async def _story(self, prompt: list[int], size: int) -> tuple[list[int], float | None]:
        tokens = (await self.client.post("/inference/v1/generate", asking(self.model, prompt, size)))["choices"][0][
            "token_ids"
        ]
        return tokens, await self.judge.score(self.tokenizer.decode(tokens)) if self.work.streamed else None

    async def reward(
        self, completions: Sequence[Any], scores: Sequence[float | None], **_: Any
    ) -> Sequence[float | None]:
        began = perf_counter()
        if not self.work.streamed:
            scores = await asyncio.gather(*(self.judge.score(one[0]["content"]) for one in completions))
        self.phases["judge"] += perf_counter() - began
        return scores


class _StepCallback(TrainerCallback):
    def __init__(self, writer: Writer, turns: Turns) -> None:
        self.writer, self.turns = writer, turns
        self.began = perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        writer = self.writer
        rest = perf_counter() - self.began - sum(writer.phases.values())
        self.turns.done(writer.tokens, writer.phases | {"update": rest})
        writer.reset()
        self.began = perf_counter()


def run(work: Work, turns: Turns) -> None:
    torch.set_num_threads(THREADS)
    writer = Writer(work)
    parts = work.stories // work.batch
    config = GRPOConfig(
        str(work.folder / "trl"), use_cpu=True, bf16=False, per_device_train_batch_size=work.batch, gradient_accumulation_steps=parts,
        steps_per_generation=parts // work.pieces, num_generations=len(work.lengths[0]), max_completion_length=max(writer.sizes), max_steps=work.steps,
        num_iterations=1, beta=0.0, loss_type="dapo", mask_truncated_completions=False, shuffle_dataset=False, learning_rate=LEARNER["learning_rate"],
        lr_scheduler_type="constant", optim="adamw_torch_fused", max_grad_norm=1.0, gradient_checkpointing=work.learner["gradient_checkpointing"],
        gradient_checkpointing_kwargs={"use_reentrant": False}, report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(
        work.model, dtype=torch.float32, attn_implementation="sdpa", local_files_only=True
    )
    requests = [{"prompt": [{"role": "user", "content": prompt}]} for prompt in writer.prompts]

    async def reward(**given: Any) -> Sequence[float | None]:  # TRL accepts only functions
        return await writer.reward(**given)

    trainer = GRPOTrainer(
        model, reward_funcs=[reward], args=config, train_dataset=Dataset.from_list(requests), processing_class=writer.tokenizer, rollout_func=writer,
        callbacks=[_StepCallback(writer, turns)], peft_config=peft_config(work.lora),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    try:
        trainer.train()
    finally:
        writer.sync.close()


if __name__ == "__main__":
    take_turns(run)
