"""The learner: a model, its optimizer, and one of two engines: plain torch for one process, or DeepSpeed's ZeRO for one or several.

    for numbers, batch in learner.split_across_ranks(examples):     this process' micro-batches of a step
        loss = objective(learner(batch)) / count_of_the_whole_step
        learner.backward(loss * batch.loss_factor)                  gradients add up over micro-batches and processes
    norm = learner.update(rate)                                     clip, update the weights, reset the gradients

Where the count of the whole step is known only at its end, losses are sums, and the gradients are divided by `update(rate, divide=count)`.

Each process and micro-batch divides its loss by the count of the whole step, so that the result does not depend on the division of the step.

In bfloat16 the model computes in bfloat16, and both engines add up gradients and update what is trained in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from training.common.errors import MendableError
from training.config.learner import LearnerSettings
from training.learner import processes
from training.learner.batches import Batch, Example, micro_batches, to_batch
from training.learner.scorer import Scorer
from training.serving.vllm import fastest_precision


def dtype_of(settings: LearnerSettings) -> torch.dtype:
    """Return the type in which the model computes; where the settings leave it open, the one that this machine is fastest in."""
    precision = settings.precision
    if precision == "auto":
        precision = fastest_precision(gpu=torch.cuda.is_available())
    return torch.float32 if precision == "float32" else torch.bfloat16


class Engine(Protocol):
    """The interface of the two engines."""

    module: torch.nn.Module
    """Runs the forward pass."""

    def backward(self, loss: torch.Tensor, *, last: bool) -> None: ...
    def update(self, rate: float, divide: float) -> float: ...
    def save(self, folder: Path) -> None: ...
    def load(self, folder: Path) -> None: ...
    def weights(self, *, trained: bool = False) -> dict[str, torch.Tensor]: ...


def parameter_groups(named: Iterator[tuple[str, torch.nn.Parameter]], decay: float) -> list[dict[str, Any]]:
    """Return optimizer groups of the trained parameters: matrices with weight decay, vectors (norms, biases) without.

    A parameter that is divided among processes has its shape in `ds_shape`.
    """
    matrices: list[torch.nn.Parameter] = []
    vectors: list[torch.nn.Parameter] = []
    for _, parameter in named:
        if parameter.requires_grad:
            (matrices if len(getattr(parameter, "ds_shape", parameter.shape)) > 1 else vectors).append(parameter)
    return [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]


class PlainEngine:
    """One process with plain torch. Where the model computes in bfloat16, gradients are accumulated in float32."""

    def __init__(self, module: torch.nn.Module, settings: LearnerSettings) -> None:
        self.module, self.clip_norm = module, settings.clip_norm
        self.trained = {name: one for name, one in module.named_parameters() if one.requires_grad}
        self.masters = self.trained
        if dtype_of(settings) != torch.float32:
            self.masters = {name: torch.nn.Parameter(one.detach().float()) for name, one in self.trained.items()}
            for name, one in self.trained.items():
                one.register_post_accumulate_grad_hook(_accumulate_into(self.masters[name]))  # type: ignore[no-untyped-call]
        groups = parameter_groups(iter(self.masters.items()), settings.weight_decay)
        self.optimizer = torch.optim.AdamW(
            groups, lr=settings.learning_rate, betas=settings.betas, eps=settings.epsilon, fused=True
        )

    def backward(self, loss: torch.Tensor, *, last: bool) -> None:  # noqa: ARG002
        torch.autograd.backward(loss)

    @torch.no_grad()
    def update(self, rate: float, divide: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if divide != 1:
            torch._foreach_div_([one.grad for one in self.masters.values() if one.grad is not None], divide)
        norm = torch.nn.utils.clip_grad_norm_(self.masters.values(), self.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._to_model()
        return norm.item()

    def save(self, folder: Path) -> None:
        weights = {name: one.detach() for name, one in self.masters.items()}
        torch.save({"weights": weights, "optimizer": self.optimizer.state_dict()}, folder / "learner.pt")

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        state = torch.load(folder / "learner.pt", weights_only=True, mmap=True)
        for name, one in self.masters.items():
            one.copy_(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self._to_model()

    def _to_model(self) -> None:
        if self.masters is not self.trained:
            for name, one in self.trained.items():
                one.copy_(self.masters[name])

    def weights(self, *, trained: bool = False) -> dict[str, torch.Tensor]:
        """Return all weights, or those that are trained."""
        return {name: one.detach() for name, one in (self.trained if trained else self.module.state_dict()).items()}


def _accumulate_into(master: torch.nn.Parameter) -> Any:
    def accumulate(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        if master.grad is None:
            master.grad = parameter.grad.float()
        else:
            master.grad += parameter.grad
        parameter.grad = None

    return accumulate


class ZeroEngine:
    """ZeRO 1 to 3 (arXiv 1910.02054): optimizer states, gradients and weights are sharded over the processes."""

    def __init__(self, module: torch.nn.Module, settings: LearnerSettings) -> None:
        deepspeed = import_deepspeed()
        self.stage, self.processes = settings.zero_stage, processes.world_size()
        groups = [
            group for group in parameter_groups(module.named_parameters(), settings.weight_decay) if group["params"]
        ]
        adam: dict[str, Any] = {"lr": settings.learning_rate, "betas": settings.betas, "eps": settings.epsilon}
        if settings.offload == "none":
            optimizer: torch.optim.Optimizer = torch.optim.AdamW(groups, **adam, fused=True)
        else:
            optimizer = deepspeed.ops.adam.DeepSpeedCPUAdam(groups, **adam)
        self.engine, *_ = deepspeed.initialize(model=module, optimizer=optimizer, config=deepspeed_config(settings))
        self.module = self.engine

    def backward(self, loss: torch.Tensor, *, last: bool) -> None:
        # DeepSpeed takes the mean over the processes; our losses are to be added up.
        self.engine.set_gradient_accumulation_boundary(last)
        self.engine.backward(loss * self.processes)
        if not last:
            self.engine.step()

    def update(self, rate: float, divide: float) -> float:
        for group in self.engine.optimizer.param_groups:
            group["lr"] = rate
        scaled = self.engine.optimizer
        scaled.loss_scale = divide  # what gradients are divided by before they are clipped, and what the next loss would be multiplied by
        self.engine.step()
        scaled.loss_scale = 1.0
        return float(self.engine.get_global_grad_norm())

    def save(self, folder: Path) -> None:
        self.engine.save_checkpoint(str(folder), tag="deepspeed", save_latest=False, exclude_frozen_parameters=True)

    def load(self, folder: Path) -> None:
        shards = len(list((folder / "deepspeed").glob("*optim_states.pt")))
        if shards != self.processes:
            raise MendableError(
                f"The checkpoint {folder} was written by {shards} processes, and this run has {self.processes}: start {shards} processes."
            )
        self.engine.load_checkpoint(str(folder), tag="deepspeed", load_module_strict=False)
        self.engine.optimizer.loss_scale = 1.0  # checkpoints of version 0.1 hold that of their last step

    def weights(self, *, trained: bool = False) -> dict[str, torch.Tensor]:
        """Return all weights, or those that are trained, on process 0, nothing on the others."""
        import deepspeed

        kept: dict[str, torch.Tensor] = {}
        for name, one in self.engine.module.named_parameters(remove_duplicate=False):
            if trained and not one.requires_grad:
                continue
            with deepspeed.zero.GatheredParameters([one], enabled=self.stage == 3):
                if processes.rank() == 0:
                    kept[name] = one.detach().cpu().clone()
        return kept


def import_deepspeed() -> Any:
    import deepspeed
    from deepspeed.runtime.engine import ZERO_OPTIMIZATION, DeepSpeedEngine

    # For stage 1 in bfloat16 with gradients in float32 it would take another optimizer, without the loss scale that `update` divides by.
    DeepSpeedEngine._do_optimizer_sanity_check = lambda *_: ZERO_OPTIMIZATION  # noqa: SLF001
    # On a CPU it would compile collectives of its own, which takes a minute, and which spin while they wait; gloo's do not.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def deepspeed_config(settings: LearnerSettings) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": settings.zero_stage, "contiguous_gradients": True, "overlap_comm": True}
    if settings.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if settings.offload == "all":
        zero["offload_param"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return {
        "train_micro_batch_size_per_gpu": 1,  # ours are counted in tokens; the accumulation boundary is set explicitly
        "gradient_accumulation_steps": 1,
        "gradient_clipping": settings.clip_norm,
        "bf16": {"enabled": dtype_of(settings) == torch.bfloat16},
        "data_types": {"grad_accum_dtype": "fp32"},
        # Stage 1 sends the sums over all micro-batches; the others send those of one, in the precision in which it was computed.
        **({"communication_data_type": "fp32"} if settings.zero_stage == 1 else {}),
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**62,
    }


class Learner:
    """A model, its engine, and the division of a step's examples among processes and micro-batches."""

    def __init__(self, model: PreTrainedModel, settings: LearnerSettings, *, packed: bool) -> None:
        if processes.world_size() > 1 and not settings.zero_stage:
            raise MendableError("Several processes need zero_stage 1, 2 or 3 (under `learner` in the settings).")
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.settings, self.packed, self.device, self.model = settings, packed, processes.device(), model
        module = Scorer(model).to(self.device, dtype_of(settings))
        self.engine: Engine = (ZeroEngine if settings.zero_stage else PlainEngine)(module, settings)
        # the same in all processes, which compute the same division
        self._budget = min(processes.all_gather(settings.micro_batch(processes.memory())))
        self._open, self._last = 0, True

    def split_across_ranks(
        self, examples: Sequence[Example], *, last: bool = True
    ) -> Iterator[tuple[list[int], Batch]]:
        """Yield this process' micro-batches of a step: the numbers of the examples in each, and their texts as a batch.

        A step may come in parts, as its stories are written; `last` marks the part that ends it.

        A micro-batch without examples gets the step's first example, and its `loss_factor` is 0: losses must be multiplied by it.
        """
        parts = micro_batches(
            examples,
            processes=processes.world_size(),
            budget=self._budget,
            packed=self.packed,
        )[processes.rank()]
        self._open, self._last = len(parts), last
        for numbers in parts:
            own = numbers or [0]
            samples = [sample for number in own for sample in examples[number]]
            yield own, to_batch(samples, packed=self.packed, device=self.device, loss_factor=float(bool(numbers)))

    def __call__(self, batch: Batch, temperature: float = 1.0) -> torch.Tensor:
        """Return the model's output for a batch (`training.learner.scorer`)."""
        output: torch.Tensor = self.engine.module(batch, temperature)
        return output

    @torch.no_grad()
    def infer(
        self, examples: Sequence[Example], temperature: float = 1.0
    ) -> Iterator[tuple[list[int], Batch, torch.Tensor]]:
        """Yield the numbers, the batch and the model's output for each micro-batch of this process, in evaluation mode, without gradients."""
        self.engine.module.eval()
        for numbers, batch in self.split_across_ranks(examples):
            output = self(batch, temperature)
            if batch.loss_factor:
                yield numbers, batch, output
        self.engine.module.train()

    def backward(self, loss: torch.Tensor) -> None:
        self._open -= 1
        self.engine.backward(loss, last=self._last and self._open == 0)

    def update(self, rate: float, divide: float = 1.0) -> float:
        """Divide and clip the gradients, update the weights at the learning rate `rate`, and return the gradient norm before clipping."""
        return self.engine.update(rate, divide)
