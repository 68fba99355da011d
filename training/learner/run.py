"""A run of a recipe: its folder, its events, from where it resumes after a stop or a kill, and what it leaves.

    settings.json        as used, without keys
    events.jsonl         what happened, as records (`training.common.records`), for whoever follows
    checkpoints/step-*   whole or absent
    model/               the result

The data's cursor is the number of the step: which examples a step takes is a function of the seed and that number alone. So a run
that was killed, stopped or moved resumes from its newest checkpoint as if nothing had happened.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, nullcontext, suppress
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
import torch.distributed as dist
from pydantic import ValidationError
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from training.common.errors import AskedToStop, MendableError, disk_error, disk_errors_explained
from training.common.events import EventLog
from training.common.redaction import redact
from training.common.run_lock import run_lock
from training.config.adapter import with_adapter
from training.config.places import check_places
from training.config.recipe import MAY_CHANGE, RecipeSettings
from training.learner import processes
from training.learner.adapters import load_adapter
from training.learner.checkpoints import latest_checkpoint, save_checkpoint
from training.learner.engine import Learner, dtype_of
from training.learner.facts import beginning_of, dated, model_hash
from training.learner.learned import LearnedGuard
from training.learner.models import can_pack, check_kind, load_model, load_tokenizer
from training.learner.schedule import learning_rate_factor
from training.learner.stopping import stop_on_sigterm

LONGEST_WAIT = timedelta(hours=6)
"""Of one process for the others: the first of them may be waiting for stories to be written and judged."""
Evaluate = Callable[[], dict[str, float]]


class Run:
    """One run on one or several processes. Only process 0 writes events and settings; all write checkpoints.

    with Run(settings) as run:
        ...
        for step in run.steps(learner, total, fingerprint, evaluate):
            ...backward...
            run.log_step(step, {"loss": loss, "tokens": tokens})
    """

    def __init__(self, settings: RecipeSettings) -> None:
        self.settings, self.folder = with_adapter(settings), settings.run_dir
        self._dumped = self.settings.model_dump(mode="json")
        self.first = processes.rank() == 0
        self._stack = ExitStack()
        self.finished = self._stopped = False

    def __enter__(self) -> Self:
        if processes.world_size() > 1 and not self.settings.learner.zero_stage:
            raise MendableError("Several processes need zero_stage 1, 2 or 3 (under `learner` in the settings).")
        with self._stack, disk_errors_explained(self.folder):
            if self.settings.learner.zero_stage and not dist.is_initialized():
                _join_processes()
                self._stack.callback(dist.destroy_process_group)
            check_places(self.settings, self.folder)
            if self.first:
                self._stack.enter_context(run_lock(self.folder))
            self._fix_precision()
            self.began: datetime = processes.broadcast(beginning_of(self.folder))
            self.log = EventLog(self.folder / "events.jsonl" if self.first else None)
            self._stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, _stop_now))
            self._stack = self._stack.pop_all()
        torch.manual_seed(self.settings.seed)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        of_disk = disk_error(error, self.folder) if error else None
        with suppress(OSError):  # where there is no room for that either
            self._log_end(of_disk or error)
        self._stack.close()
        if of_disk:
            raise of_disk from error

    def _fix_precision(self) -> None:
        """Replace precision "auto" by that of the run's earlier start, or by that of the first process' machine, so that it is recorded."""
        learner = self.settings.learner
        if learner.precision == "auto":
            precision = processes.broadcast(self._recorded_precision() or str(dtype_of(learner)).removeprefix("torch."))
            learner = learner.model_copy(update={"precision": precision})
            self.settings = self.settings.model_copy(update={"learner": learner})
            self._dumped["learner"]["precision"] = precision

    def _recorded_precision(self) -> str | None:
        try:
            found = json.loads((self.folder / "settings.json").read_bytes())["learner"]["precision"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if found in ("float32", "bfloat16") else None

    def _log_end(self, error: BaseException | None) -> None:
        """Of other errors there is no event: they are mistakes in the code, and whoever follows may start the run again."""
        match error:
            case None if self.finished:
                self.log.ended("done", self.done)
            case None if self._stopped:
                self.log.ended("stopped", self.done)
            case MendableError():
                self.log.ended("failed", reason=str(error))
            case AskedToStop():
                self.log.ended("stopped")
            case KeyboardInterrupt():
                self.log.ended("interrupted")

    def load_tokenizer(self, *, reward: bool = False) -> PreTrainedTokenizerFast:
        """The tokenizer of the model that the settings name. For its chat template it is always the day on which the run began.

        The kind of the model is checked first, so that one that cannot be trained is refused before data is read and a server started.
        """
        check_kind(self.settings.model, self.settings.learner, reward=reward)
        return dated(load_tokenizer(self.settings.model), self.began)

    def load_learner(self, *, reward: bool = False) -> Learner:
        """The model that the settings name, ready to learn; with `reward`, as a model that answers one number a text."""
        self._found = latest_checkpoint(self.folder / "checkpoints", self.log.log)
        if self._found:
            before = renamed(self._found[1]["settings"], type(self.settings))
            if changed := sorted(changes(self._dumped, before)):
                raise MendableError(
                    f"{self.folder} holds a run with other settings ({', '.join(changed)}): choose another run_dir, or set them "
                    "back."
                )
        with self.log.phase("model"):
            model = load_model(self.settings.model, self.settings.learner, reward=reward)
            self._check_base()
            if self.settings.adapter:
                load_adapter(model, self.settings.adapter, self.began_with["base"])
            return Learner(model, self.settings.learner, packed=can_pack(model, self.settings.learner, self.log.log))

    def _check_base(self) -> None:
        self.began_with = {"base": self._hash_of(self.settings.model, "base", "model")}
        if self.settings.adapter:
            self.began_with["adapter"] = self._hash_of(self.settings.adapter, "adapter", "adapter")

    def _hash_of(self, folder: Path, fact: str, what: str) -> str:
        """The SHA-256 of a folder that the run began with. Raises MendableError if the checkpoint has another one."""
        found: str = processes.broadcast(model_hash(folder) if self.first else "")
        if self._found and self._found[1].get(fact, found) != found:
            raise MendableError(
                f"{self.folder} holds a run that began with another {what}: the files in {folder} were changed since. Put them back, "
                "or choose another run_dir."
            )
        return found

    def steps(self, learner: Learner, total: int, data: str, evaluate: Evaluate | None = None) -> Iterator[int]:
        """The steps that are still to be done, from 0. `data` is the fingerprint of what they learn from."""
        self._asked_to_stop = self._stack.enter_context(stop_on_sigterm())
        self.learner, self.total, self.evaluate = learner, total, evaluate
        self._facts: dict[str, Any] = {
            "settings": self._dumped, "data": data, "total": total, "began": self.began.isoformat(), **self.began_with,
        }  # fmt: skip
        self.learned = LearnedGuard()
        step = self.done = self._resume()
        if not self.settings.learner.learning_rate:
            self.log.log("The learning rate is 0, so the weights stay as they are.")
        if self.first:
            text = redact(json.dumps(self._dumped, indent=2, ensure_ascii=False))
            (self.folder / "settings.json").write_text(text + "\n")
        # A bar for people; a line for each step where nobody watches.
        watched = self.first and sys.stderr.isatty()
        with (
            tqdm(total=total, initial=step, unit="step", dynamic_ncols=True) if watched else nullcontext() as self._bar
        ):
            self._began = time.monotonic()
            while step < total:
                self._rate = self.settings.learner.learning_rate * learning_rate_factor(
                    step, total, self.settings.learner
                )
                yield step
                step += 1
                self._stopped = self._stops(step)
                if self._stopped:
                    return
        self.learned.check_end()
        self.finished = True

    def log_step(
        self,
        step: int,
        shares: dict[str, float],
        *,
        divide: float = 1.0,
        also: Mapping[str, float] | None = None,
        nothing: str = "",
    ) -> None:
        """Move the weights by the step's gradients, and log its metrics. Raises MendableError where a value is not finite, and where the run
        learns nothing (`training.learner.learned`).

        `shares` are this process' shares of the metrics, `loss` and `tokens` among them; they are added up over the processes. `also` are
        metrics as they are. The gradients are divided by `divide` first: for a step whose size is known only at its end. `nothing` is a clause
        that says why there was nothing to learn in the step, if so.
        """
        metrics = processes.sum_across_ranks(shares) | dict(also or {})
        if not math.isfinite(metrics["loss"]):
            raise self._nonsense(f"The loss of step {step + 1} is not a finite number")
        norm = self.learner.update(self._rate, divide)
        if not math.isfinite(norm):
            raise self._nonsense(f"The gradients of step {step + 1} are not finite numbers")
        seconds, self._began = time.monotonic() - self._began, time.monotonic()
        metrics |= {
            "grad_norm": norm,
            "learning_rate": self._rate,
            "seconds": seconds,
            "tokens_per_second": metrics["tokens"] / seconds,
            "memory_gib": _peak_memory(),
        }
        self.log.metrics(step + 1, bar=self._bar, of=self.total, **metrics)
        self.learned.count(norm, nothing)

    def _nonsense(self, what: str) -> MendableError:
        saved = [path.name for path in sorted((self.folder / "checkpoints").glob("step-*"))]
        return MendableError(
            f"{what}, so the run was stopped before it spoiled what is saved: "
            f"{saved[-1] if saved else 'nothing yet'}. Usual causes: a learning rate that is too high "
            f"({self.settings.learner.learning_rate:g} here), or texts in this step that are not language; `python -m training "
            f"report {self.folder}` shows how it came."
        )

    def _stops(self, step: int) -> bool:
        """After `step` steps: measure, save, and say whether to stop here."""
        last = step == self.total
        self.done = step
        asked = bool(max(processes.all_gather(self._asked_to_stop())))
        if self.evaluate and (last or step % self.settings.evaluate_every == 0):
            with self.log.phase("evaluate"):
                metrics = self.evaluate()
                self.log.metrics(step, bar=self._bar, of=self.total, **metrics)
            for name, value in metrics.items():
                if not math.isfinite(value):
                    raise self._nonsense(f"The {name.replace('_', ' ')} after step {step} is not a finite number")
        if last or asked or step % self.settings.checkpoint_every == 0:
            with self.log.phase("checkpoint"):
                self._save(step)
        self._began = time.monotonic()
        return asked and not last

    def _save(self, step: int) -> None:
        def write(folder: Path) -> None:
            self.learner.engine.save(folder)
            torch.save({"cpu": torch.get_rng_state()}, folder / f"random-{processes.rank()}.pt")

        facts = self._facts | {"learned": self.learned.steps}
        save_checkpoint(self.folder / "checkpoints", step, write, facts, self.settings.keep)

    def _resume(self) -> int:
        """Put everything back as the newest whole checkpoint has it; the number of steps done, 0 for a new run."""
        if not self._found:
            return 0
        checkpoint, manifest = self._found
        if manifest["data"] != self._facts["data"] or manifest["total"] != self.total:
            if manifest["data"] == self._facts["data"] and "began" not in manifest:
                raise MendableError(
                    f"{self.folder} holds a run of an earlier version, which left out the rest of an epoch that fills no step: finish it with that "
                    "version, or choose another run_dir."
                )
            raise MendableError(
                f"{self.folder} holds a run on other data: the files were changed since. Put them back, or choose another run_dir."
            )
        self.learner.engine.load(checkpoint)
        state = torch.load(checkpoint / f"random-{processes.rank()}.pt", weights_only=True)
        torch.set_rng_state(state["cpu"])
        step = int(manifest["step"])
        self.learned = LearnedGuard(step, manifest.get("learned", step))
        self.log.resumed(checkpoint, step)
        return step


def _stop_now(*_: object) -> None:
    """SIGTERM before the first step of this process: there is nothing to save."""
    raise AskedToStop


def _join_processes() -> None:
    if torch.cuda.is_available():
        torch.cuda.set_device(processes.device())
    alone: dict[str, Any] = {}
    if "WORLD_SIZE" not in os.environ:  # DeepSpeed wants a group even of one, which no launcher has set up
        os.environ.setdefault("LOCAL_RANK", "0")
        alone = {"store": dist.HashStore(), "rank": 0, "world_size": 1}  # type: ignore[attr-defined]
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=LONGEST_WAIT, **alone)


def renamed(stored: dict[str, Any], kind: type[RecipeSettings]) -> dict[str, Any]:
    """The settings of an earlier run by the names that they have now; as they are where the class does not take them any more."""
    try:
        return kind.model_validate(stored).model_dump(mode="json")
    except ValidationError:
        return stored


def changes(now: dict[str, Any], before: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The names of the settings that a resumed run may not change, and that differ."""
    for name in now.keys() | before.keys():
        full = prefix + name
        one, other = now.get(name), before.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from changes(one, other, f"{full}.")
        elif one != other and not any(fnmatchcase(full, pattern) for pattern in MAY_CHANGE):
            yield full


def _peak_memory() -> float:
    """GiB: of the GPU where there is one, else of the process (getrusage would count its parent's in)."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 2**20


@lru_cache(maxsize=2)
def order(examples: int, epoch: int, seed: int) -> list[int]:
    """The order of an epoch's examples."""
    numbers = list(range(examples))
    random.Random(f"{seed}/{epoch}").shuffle(numbers)
    return numbers


def batches_of(examples: int, batch: int, settings: RecipeSettings) -> tuple[Callable[[int], list[int]], int]:
    """Which examples a step takes, `batch` of them, and how many steps an epoch has; the last step of an epoch takes the rest."""
    if examples < batch:
        files = ", ".join(map(str, settings.data))
        raise MendableError(
            f"The data ({files}) has {examples} examples, fewer than one step takes (batch = {batch}): lower `batch` in the "
            "settings, or add data."
        )

    per_epoch = math.ceil(examples / batch)

    def of_step(step: int) -> list[int]:
        epoch, place = divmod(step, per_epoch)
        return order(examples, epoch, settings.seed)[place * batch : (place + 1) * batch]

    return of_step, per_epoch


def steps_of(settings: RecipeSettings, per_epoch: int) -> int:
    return settings.steps or max(1, round(settings.epochs * per_epoch))
