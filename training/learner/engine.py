"""The learner: weights that take gradients in and move. Plain torch for one process, DeepSpeed's ZeRO for several or for one.

    batches = learner.share(examples)        what this process takes of a step
    for batch in batches:
        loss = objective(learner(batch)) / count_of_the_whole_step
        learner.backward(loss * batch.counts)               gradients add up over micro-batches and processes
    norm = learner.update(rate)              clip, move, forget the gradients

Where the count of the whole step is known only when all of it is there, gradients of sums are added up, and `update(rate, divide=count)`.

Losses are shares of the step's mean: divided by the count of the whole step, on whichever process and micro-batch they arise.
So the result does not depend on how a step was divided.

In bfloat16 the model computes in bfloat16 and the optimizer moves float32 copies of what is trained, in both engines.
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

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Engine(Protocol):
    """What the two engines have in common."""

    module: torch.nn.Module
    """Call it for a forward pass."""

    def backward(self, loss: torch.Tensor, *, last: bool) -> None: ...
    def update(self, rate: float, divide: float) -> float: ...
    def save(self, folder: Path) -> None: ...
    def load(self, folder: Path) -> None: ...
    def weights(self) -> dict[str, torch.Tensor]: ...


def parameter_groups(named: Iterator[tuple[str, torch.nn.Parameter]], decay: float) -> list[dict[str, Any]]:
    """Matrices decay, vectors (norms, biases) do not."""
    trained = [parameter for _, parameter in named if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], "weight_decay": decay},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


class PlainEngine:
    """One process, torch alone. Where the model computes in bfloat16, gradients are added up in float32 as they arise."""

    def __init__(self, module: torch.nn.Module, settings: LearnerSettings) -> None:
        self.module, self.clip_norm = module, settings.clip_norm
        self.trained = {name: one for name, one in module.named_parameters() if one.requires_grad}
        self.masters = self.trained
        if settings.precision != "float32":
            self.masters = {name: torch.nn.Parameter(one.detach().float()) for name, one in self.trained.items()}
            for name, one in self.trained.items():
                one.register_post_accumulate_grad_hook(_moved_to(self.masters[name]))  # type: ignore[no-untyped-call]
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

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: one.detach() for name, one in self.module.state_dict().items()}


def _moved_to(master: torch.nn.Parameter) -> Any:
    def move(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        if master.grad is None:
            master.grad = parameter.grad.float()
        else:
            master.grad += parameter.grad
        parameter.grad = None

    return move


class DeepSpeedEngine:
    """ZeRO 1 to 3 (arXiv 1910.02054): optimizer states, gradients and weights in parts over the processes."""

    def __init__(self, module: torch.nn.Module, settings: LearnerSettings) -> None:
        import deepspeed

        # On a CPU it compiles its own collectives for a minute, which then spin while they wait: gloo's are there.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        self.stage, self.processes = settings.zero_stage, processes.world()
        groups = [
            group for group in parameter_groups(module.named_parameters(), settings.weight_decay) if group["params"]
        ]
        adam: dict[str, Any] = {"lr": settings.learning_rate, "betas": settings.betas, "eps": settings.epsilon}
        if settings.offload == "none":
            optimizer: torch.optim.Optimizer = torch.optim.AdamW(groups, **adam, fused=True)
        else:
            optimizer = deepspeed.ops.adam.DeepSpeedCPUAdam(groups, **adam)
        self.engine, *_ = deepspeed.initialize(model=module, optimizer=optimizer, config=_config(settings))
        self.module = self.engine

    def backward(self, loss: torch.Tensor, *, last: bool) -> None:
        # DeepSpeed takes the mean over the processes; our losses are shares that add up.
        self.engine.set_gradient_accumulation_boundary(last)
        self.engine.backward(loss * self.processes)
        if not last:
            self.engine.step()

    def update(self, rate: float, divide: float) -> float:
        for group in self.engine.optimizer.param_groups:
            group["lr"] = rate
        self.engine.optimizer.loss_scale = divide  # what gradients are divided by before they are clipped
        self.engine.step()
        return float(self.engine.get_global_grad_norm())

    def save(self, folder: Path) -> None:
        self.engine.save_checkpoint(str(folder), tag="deepspeed", save_latest=False, exclude_frozen_parameters=True)

    def load(self, folder: Path) -> None:
        parts = len(list((folder / "deepspeed").glob("*optim_states.pt")))
        if parts != self.processes:
            raise MendableError(
                f"The checkpoint {folder} was written by {parts} processes, and this run has {self.processes}: start as many."
            )
        self.engine.load_checkpoint(str(folder), tag="deepspeed", load_module_strict=False)

    def weights(self) -> dict[str, torch.Tensor]:
        """All weights on process 0, none on the others."""
        import deepspeed

        kept: dict[str, torch.Tensor] = {}
        for name, one in self.engine.module.named_parameters(remove_duplicate=False):
            with deepspeed.zero.GatheredParameters([one], enabled=self.stage == 3):
                if processes.rank() == 0:
                    kept[name] = one.detach().cpu().clone()
        return kept


def _config(settings: LearnerSettings) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": settings.zero_stage, "contiguous_gradients": True, "overlap_comm": True}
    if settings.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if settings.offload == "all":
        zero["offload_param"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return {
        "train_micro_batch_size_per_gpu": 1,  # ours are counted in tokens, and their end is said to the engine
        "gradient_accumulation_steps": 1,
        "gradient_clipping": settings.clip_norm,
        "bf16": {"enabled": settings.precision == "bfloat16"},
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**62,
    }


class Learner:
    """A model, its engine, and the division of a step's examples among processes and micro-batches."""

    def __init__(self, model: PreTrainedModel, settings: LearnerSettings, *, packed: bool) -> None:
        if processes.world() > 1 and not settings.zero_stage:
            raise MendableError("Several processes need zero_stage 1, 2 or 3 (under `learner` in the settings).")
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.settings, self.packed, self.device, self.model = settings, packed, processes.device(), model
        module = Scorer(model).to(self.device, DTYPES[settings.precision])
        self.engine: Engine = (DeepSpeedEngine if settings.zero_stage else PlainEngine)(module, settings)
        self._open, self._last = 0, True

    def share(self, examples: Sequence[Example], *, last: bool = True) -> Iterator[tuple[list[int], Batch]]:
        """This process' micro-batches of a step: the numbers of the examples in each, and their texts as a batch.

        A step may come in parts, as its stories are written; `last` is said of the one that ends it.

        One without examples has those of the step's first, and its loss must be multiplied by `batch.counts`, which is 0 then.
        """
        parts = micro_batches(
            examples,
            processes=processes.world(),
            budget=self.settings.tokens_per_micro_batch,
            packed=self.packed,
        )[processes.rank()]
        self._open, self._last = len(parts), last
        for numbers in parts:
            own = numbers or [0]
            samples = [sample for number in own for sample in examples[number]]
            yield own, to_batch(samples, packed=self.packed, device=self.device, counts=float(bool(numbers)))

    def __call__(self, batch: Batch) -> torch.Tensor:
        answer: torch.Tensor = self.engine.module(batch)
        return answer

    @torch.no_grad()
    def read(self, examples: Sequence[Example]) -> Iterator[tuple[list[int], Batch, torch.Tensor]]:
        """Answers without learning: numbers, texts and answer of each micro-batch of this process that counts."""
        self.engine.module.eval()
        for numbers, batch in self.share(examples):
            answer = self(batch)
            if batch.counts:
                yield numbers, batch, answer
        self.engine.module.train()

    def backward(self, loss: torch.Tensor) -> None:
        self._open -= 1
        self.engine.backward(loss, last=self._last and self._open == 0)

    def update(self, rate: float, divide: float = 1.0) -> float:
        """Divide the gradients, move the weights; the norm of the gradients before clipping."""
        return self.engine.update(rate, divide)
