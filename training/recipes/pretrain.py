"""Pretraining: a small story model from scratch, on requests and stories as the narrator will make them.

The learning rate warms up, stays, and falls to nothing over the last `decay_steps`; because it stays in between, a run
may be stopped and made longer or shorter by changing `steps` and `decay_steps` alone. SIGTERM asks for a clean stop: the
step is finished, a checkpoint written, and the next start goes on from there as if nothing had happened.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import Qwen3ForCausalLM

from training.corpus.stories import read_stories, split_by_author
from training.corpus.windows import MeasuredStory, measure, plan_epoch, render
from training.errors import MendableError
from training.learner.checkpoints import latest_checkpoint, load_state, save_checkpoint
from training.learner.events import EventLog
from training.model import new_model, save_model
from training.records import Sample
from training.settings import MAY_CHANGE, PretrainSettings
from training.tokenizer import Encoder, train_tokenizer


def learning_rate_share(step: int, settings: PretrainSettings) -> float:
    """Warm-up, stable, decay: the share of the learning rate that step `step` (from 0) uses."""
    warm = min(1.0, (step + 1) / (settings.warmup_steps + 1))
    return min(warm, (settings.steps - step) / (settings.decay_steps + 1))


def rows_from(step: int, stories: list[MeasuredStory], encoder: Encoder, settings: PretrainSettings) -> Iterator[list[Sample]]:
    """The rows of each step from `step` on, for ever; what is left over at an epoch's end is dropped."""
    epoch, cursor = 0, step
    while True:
        windows = plan_epoch(stories, seed=settings.seed, epoch=epoch, length=settings.sequence_length)
        batches = len(windows) // settings.batch_rows
        if batches == 0:
            raise MendableError(f"The corpus gives {len(windows)} rows, fewer than batch_rows ({settings.batch_rows}).")
        for batch in range(cursor, batches):
            chosen = windows[batch * settings.batch_rows : (batch + 1) * settings.batch_rows]
            yield [render(window, stories, encoder, settings.sequence_length) for window in chosen]
        epoch, cursor = epoch + 1, max(0, cursor - batches)


def to_tensors(rows: list[Sample], length: int, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and weights, each [rows, length]. Padding is on the right, where a causal model does not look."""
    tokens_BT = torch.full((len(rows), length), pad)
    weights_BT = torch.zeros(len(rows), length)
    for row, sample in enumerate(rows):
        tokens_BT[row, : len(sample.tokens)] = torch.tensor(sample.tokens)
        weights_BT[row, : len(sample.weights)] = torch.tensor(sample.weights)
    return tokens_BT, weights_BT


def summed_loss(model: Qwen3ForCausalLM, tokens_BT: torch.Tensor, weights_BT: torch.Tensor) -> torch.Tensor:
    """Cross entropy in nats, summed over the learned tokens; the output head sees no other position."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden_BTD = model.model(input_ids=tokens_BT, use_cache=False).last_hidden_state
        learned_BT = weights_BT[:, 1:] > 0
        logits_NV = model.lm_head(hidden_BTD[:, :-1][learned_BT])
    losses_N = F.cross_entropy(logits_NV.float(), tokens_BT[:, 1:][learned_BT], reduction="none")
    return (losses_N * weights_BT[:, 1:][learned_BT]).sum()


def optimizers_for(model: Qwen3ForCausalLM, settings: PretrainSettings) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings, output head and norms (Muon's own advice)."""
    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name and "lm_head" not in name]
    chosen = set(map(id, inner))
    outer = [p for p in model.parameters() if id(p) not in chosen]
    decay = settings.weight_decay
    return [
        torch.optim.Muon(inner, lr=settings.matrix_learning_rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(outer, lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def pretrain(settings: PretrainSettings) -> Path | None:
    """Train, or go on training; the folder of the model, or None if the run was asked to stop before its last step."""
    run, checkpoints = settings.run_dir, settings.run_dir / "checkpoints"
    run.mkdir(parents=True, exist_ok=True)
    log = EventLog(run / "events.jsonl")
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    stop = _stop_on_sigterm()

    with log.phase("corpus"):
        split = split_by_author(read_stories(settings.corpus, settings.pd_scope), settings.held_out_authors)
        train, held_out = ([measure(story) for story in part] for part in split)
    with log.phase("tokenizer"):
        tokenizer = _tokenizer(run, [story.text for story in split.train], settings.vocabulary)
    encoder = Encoder(tokenizer)
    length, vocabulary = settings.sequence_length, tokenizer.get_vocab_size()
    model = new_model(settings.shape, vocabulary, pad=encoder.pad, end=encoder.end)
    optimizers = optimizers_for(model, settings)
    step = 0
    if found := latest_checkpoint(checkpoints, log.log):
        _refuse_other_settings(found[1]["settings"], settings)
        state = load_state(found[0])
        step = state["step"]
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        torch.set_rng_state(state["rng"])
        log.log(f"Going on from {found[0]}.")
    (run / "settings.json").write_text(settings.model_dump_json(indent=2) + "\n")
    test_rows = [render(window, held_out, encoder, length) for window in plan_epoch(held_out, seed=0, epoch=0, length=length)]
    test_rows = test_rows[: settings.evaluate_rows]
    parameters = sum(p.numel() for p in model.parameters())
    log.log(f"{parameters:,} parameters, {len(train)} stories, {len(held_out)} held out, from step {step} of {settings.steps}.")

    def checkpoint() -> None:
        with log.phase("checkpoint"):
            state = {"step": step, "model": model.state_dict(), "rng": torch.get_rng_state()}
            state["optimizers"] = [optimizer.state_dict() for optimizer in optimizers]
            save_checkpoint(checkpoints, step, state, settings.model_dump(mode="json"))

    for rows in rows_from(step, train, encoder, settings):
        if step >= settings.steps:
            break
        start = time.monotonic()
        share = learning_rate_share(step, settings)
        for optimizer, rate in zip(optimizers, (settings.matrix_learning_rate, settings.learning_rate), strict=True):
            optimizer.param_groups[0]["lr"] = rate * share
        learned = sum(row.learned for row in rows)
        total = 0.0
        for first in range(0, len(rows), settings.micro_rows):
            loss = summed_loss(model, *to_tensors(rows[first : first + settings.micro_rows], length, encoder.pad))
            (loss / learned).backward()  # a mean over all tokens of the step, however the step is split
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        step += 1
        seconds = time.monotonic() - start
        tokens = sum(len(row.tokens) for row in rows)
        log.metrics(
            step, loss=total / learned, lr_share=share, grad_norm=norm.item(), tokens=tokens, seconds=round(seconds, 3)
        )
        if held_out and (step % settings.evaluate_every == 0 or step == settings.steps):
            with log.phase("evaluate"), torch.no_grad():
                log.metrics(step, held_out_loss=_mean_loss(model, test_rows, length, encoder.pad))
        if stop.asked and step < settings.steps:
            checkpoint()
            log.log(f"Stopped after step {step}, as asked; the same command goes on from here.")
            return None
        if step % settings.checkpoint_every == 0 or step == settings.steps:
            checkpoint()

    with log.phase("export"):
        save_model(model, tokenizer, run / "model", settings.shape.context)
    log.log(f"The model is in {run / 'model'}.")
    return run / "model"


def _mean_loss(model: Qwen3ForCausalLM, rows: list[Sample], length: int, pad: int) -> float:
    parts = [rows[first : first + 4] for first in range(0, len(rows), 4)]
    total = sum(summed_loss(model, *to_tensors(part, length, pad)).item() for part in parts)
    return total / sum(row.learned for row in rows)


def _tokenizer(run: Path, texts: list[str], vocabulary: int) -> Tokenizer:
    """Train the tokenizer once; a run that goes on must read the very same one."""
    path = run / "tokenizer.json"
    if not path.exists():
        temporary = path.with_suffix(".writing")
        train_tokenizer(texts, vocabulary).save(str(temporary))
        temporary.rename(path)
    return Tokenizer.from_file(str(path))


def _refuse_other_settings(before: dict[str, Any], settings: PretrainSettings) -> None:
    now = settings.model_dump(mode="json")
    changed = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
    if wrong := [name for name in changed if name not in MAY_CHANGE]:
        raise MendableError(
            f"{settings.run_dir} holds a run with other settings ({', '.join(wrong)}); choose another run_dir, or set them back."
        )


class _Stop:
    asked = False


def _stop_on_sigterm() -> _Stop:
    stop = _Stop()

    def ask(*_: object) -> None:
        stop.asked = True

    signal.signal(signal.SIGTERM, ask)
    return stop


def export(settings: PretrainSettings, folder: Path) -> None:
    """Write the newest whole checkpoint of a run, finished or not, as a model that can be served."""
    found = latest_checkpoint(settings.run_dir / "checkpoints", print)
    if not found:
        raise MendableError(f"{settings.run_dir} holds no checkpoint yet.")
    tokenizer = Tokenizer.from_file(str(settings.run_dir / "tokenizer.json"))
    encoder = Encoder(tokenizer)
    model = new_model(settings.shape, tokenizer.get_vocab_size(), pad=encoder.pad, end=encoder.end)
    model.load_state_dict(load_state(found[0])["model"])
    save_model(model, tokenizer, folder, settings.shape.context)
