"""The demo model: a small story model from scratch, on requests and stories as the narrator will make them.

The learning rate warms up, stays, and falls to nothing over the last `decay_steps`; because it stays in between, a run
may be stopped and made longer or shorter by changing `steps` and `decay_steps` alone. SIGTERM asks for a clean stop: the
step is finished, a checkpoint written, and the next start resumes from there as if nothing had happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import Qwen3ForCausalLM

from training.common.errors import MendableError
from training.common.events import EventLog
from training.common.records import Sample, Window
from training.corpus.stories import read_stories, split_by_author
from training.learner.checkpoints import latest_checkpoint, load_state, save_checkpoint
from training.learner.stopping import stop_on_sigterm
from training.test_model.card import write_card
from training.test_model.model import new_model, save_model
from training.test_model.optimizers import learning_rate_share, optimizers_for
from training.test_model.settings import MAY_CHANGE, DemoSettings
from training.test_model.tokenizer import Encoder, train_tokenizer
from training.test_model.windows import measure, plan_epoch, render


def train_demo(settings: DemoSettings) -> Path | None:
    """Train, or resume; the folder of the model, or None if the run was asked to stop before its last step."""
    run, length = settings.run_dir, settings.sequence_length
    run.mkdir(parents=True, exist_ok=True)
    log = EventLog(run / "events.jsonl")
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)

    with log.phase("corpus"):
        split = split_by_author(read_stories(settings.corpus, settings.pd_scope), settings.held_out_authors)
        train, held_out = ([measure(story) for story in part] for part in split)
    with log.phase("tokenizer"):
        tokenizer = _tokenizer(run / "tokenizer.json", [story.text for story in split.train], settings.vocabulary)
        encoder = Encoder(tokenizer)
    model = new_model(settings.shape, tokenizer.get_vocab_size(), pad=encoder.pad, end=encoder.end)
    optimizers = optimizers_for(model, settings)
    step = _resume(settings, model, optimizers, log)
    (run / "settings.json").write_text(settings.model_dump_json(indent=2) + "\n")

    test_windows = plan_epoch(held_out, 0, seed=0, length=length)[: settings.evaluate_rows]
    test_rows = [render(window, held_out, encoder, length) for window in test_windows]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    log.metrics(step, parameters=parameters, stories=len(train), held_out_stories=len(held_out))

    with stop_on_sigterm() as asked_to_stop:
        plan = partial(plan_epoch, train, seed=settings.seed, length=length)
        for windows in batches_from(step, plan, settings.batch_rows):
            if step >= settings.steps:
                break
            start = time.monotonic()
            rows = [render(window, train, encoder, length) for window in windows]
            share = learning_rate_share(step, settings)
            for optimizer, rate in zip(optimizers, (settings.matrix_learning_rate, settings.learning_rate)):
                optimizer.param_groups[0]["lr"] = rate * share
            learned = sum(row.learned for row in rows)
            total = 0.0
            for first in range(0, len(rows), settings.micro_rows):
                part = to_tensors(rows[first : first + settings.micro_rows], length, encoder.pad)
                loss = summed_loss(model, *part)
                torch.autograd.backward(loss / learned)  # a mean over the tokens of the step, however it is split
                total += loss.item()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm).item()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            step += 1
            tokens, seconds = sum(len(row.tokens) for row in rows), time.monotonic() - start
            log.metrics(step, loss=total / learned, lr_share=share, grad_norm=norm, tokens=tokens, seconds=seconds)

            last = step == settings.steps
            if test_rows and (last or step % settings.evaluate_every == 0):
                with log.phase("evaluate"):
                    log.metrics(step, held_out_loss=_mean_loss(model, test_rows, settings, encoder.pad))
            if last or step % settings.checkpoint_every == 0 or asked_to_stop():
                with log.phase("checkpoint"):
                    _save(settings, step, model, optimizers)
            if asked_to_stop() and not last:
                log.ended("stopped", step)
                return None

    with log.phase("export"):
        export(settings, run / "model")
    log.model_saved(run / "model")
    log.ended("done", step)
    return run / "model"


def export(settings: DemoSettings, folder: Path) -> None:
    """Write the newest whole checkpoint of a run, finished or not, as a model that can be served."""
    found = latest_checkpoint(settings.run_dir / "checkpoints", print)
    if not found:
        raise MendableError(f"{settings.run_dir} holds no checkpoint yet.")
    tokenizer = Tokenizer.from_file(str(settings.run_dir / "tokenizer.json"))
    encoder = Encoder(tokenizer)
    model = new_model(settings.shape, tokenizer.get_vocab_size(), pad=encoder.pad, end=encoder.end)
    model.load_state_dict(load_state(found[0])["model"])
    save_model(model, tokenizer, folder, settings.shape.context)
    write_card(settings, folder)


def _mean_loss(model: Qwen3ForCausalLM, rows: list[Sample], settings: DemoSettings, pad: int) -> float:
    parts = [rows[first : first + settings.micro_rows] for first in range(0, len(rows), settings.micro_rows)]
    with torch.no_grad():
        total = sum(summed_loss(model, *to_tensors(part, settings.sequence_length, pad)).item() for part in parts)
    return total / sum(row.learned for row in rows)


def _tokenizer(path: Path, texts: list[str], vocabulary: int) -> Tokenizer:
    """Train the tokenizer once; a resumed run must read the very same one."""
    if not path.exists():
        temporary = path.with_suffix(".writing")
        train_tokenizer(texts, vocabulary).save(str(temporary))
        temporary.rename(path)
    return Tokenizer.from_file(str(path))


def _save(settings: DemoSettings, step: int, model: Qwen3ForCausalLM, optimizers: list[torch.optim.Optimizer]) -> None:
    state = {
        "step": step,
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "rng": torch.get_rng_state(),
    }
    facts = {"settings": settings.model_dump(mode="json")}
    save_checkpoint(
        settings.run_dir / "checkpoints", step, lambda folder: torch.save(state, folder / "state.pt"), facts
    )


def _resume(
    settings: DemoSettings, model: Qwen3ForCausalLM, optimizers: list[torch.optim.Optimizer], log: EventLog
) -> int:
    """Put everything back as the newest whole checkpoint has it; the number of steps done, 0 for a new run."""
    found = latest_checkpoint(settings.run_dir / "checkpoints", log.log)
    if not found:
        return 0
    checkpoint, manifest = found
    now, before = settings.model_dump(mode="json"), manifest["settings"]
    changed = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
    if wrong := [name for name in changed if name not in MAY_CHANGE]:
        raise MendableError(
            f"{settings.run_dir} holds a run with other settings ({', '.join(wrong)}): choose another run_dir, or set them back."
        )
    state = load_state(checkpoint)
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"]):
        optimizer.load_state_dict(saved)
    torch.set_rng_state(state["rng"])
    step = int(state["step"])
    log.resumed(checkpoint, step)
    return step


def summed_loss(model: Qwen3ForCausalLM, tokens_BT: torch.Tensor, weights_BT: torch.Tensor) -> torch.Tensor:
    """Weighted cross entropy in nats, summed over the learned tokens; divide by the token count of the whole step.

    The output head sees the learned positions only: half of a landing's tokens are given, and their
    logits would be waste.
    """
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden_BTD = model.model(input_ids=tokens_BT, use_cache=False).last_hidden_state
        learned_BT = weights_BT[:, 1:] > 0
        logits_NV = model.lm_head(hidden_BTD[:, :-1][learned_BT])
    losses_N = F.cross_entropy(logits_NV.float(), tokens_BT[:, 1:][learned_BT], reduction="none")
    return (losses_N * weights_BT[:, 1:][learned_BT]).sum()


def batches_from(step: int, plan: Callable[[int], list[Window]], rows: int) -> Iterator[list[Window]]:
    """The windows of each step from `step` on, for ever. `plan(epoch)` gives an epoch's windows; a rest at its end is dropped.

    So the number of the step is the whole cursor of the data.
    """
    epoch = 0
    while True:
        windows = plan(epoch)
        batches = len(windows) // rows
        if batches == 0:
            raise MendableError(f"The corpus gives {len(windows)} rows, fewer than batch_rows ({rows}).")
        for batch in range(min(step, batches), batches):
            yield windows[batch * rows : (batch + 1) * rows]
        epoch, step = epoch + 1, max(0, step - batches)


def to_tensors(samples: list[Sample], length: int, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and weights, each [samples, length]. Padding is on the right, where a causal model does not look."""
    tokens_BT = torch.full((len(samples), length), pad)
    weights_BT = torch.zeros(len(samples), length)
    for row, sample in enumerate(samples):
        tokens_BT[row, : len(sample)] = torch.from_numpy(sample.tokens)
        weights_BT[row, : len(sample)] = torch.from_numpy(sample.weights)
    return tokens_BT, weights_BT
