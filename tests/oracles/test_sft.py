"""Our fine-tuning against TRL's trainer and against plain transformers with all logits: loss, log-probabilities, gradients."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from tests.families import PUBLISHED, Family
from tests.oracles import peers
from tests.training import models
from training.common.records import Sample
from training.learner.batches import to_batch
from training.recipes.sft.loop import learn


def trl_loss(model: torch.nn.Module, samples: list[Sample], folder: Path) -> torch.Tensor:
    tokenizer = peers.fast_tokenizer(folder)
    config = SFTConfig(**peers.trl_settings(folder / "trl"))
    trainer = SFTTrainer(model, args=config, train_dataset=peers.one_row("sft"), processing_class=tokenizer)
    rows = [
        {
            "input_ids": sample.tokens.tolist(),
            "labels": [int(t) if w else -100 for t, w in zip(sample.tokens, sample.weights)],
        }
        for sample in samples
    ]
    batch = DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id)(rows)
    loss: torch.Tensor = trainer.compute_loss(model, batch)
    return loss


def dense_loss(model: torch.nn.Module, samples: list[Sample]) -> torch.Tensor:
    """One story at a time, all logits, the mean over all learned tokens."""
    total, count = torch.zeros(()), 0
    for sample in samples:
        tokens = torch.from_numpy(sample.tokens).long()
        logprobs = model(input_ids=tokens[None]).logits[0, :-1].log_softmax(-1)
        learned = torch.from_numpy(sample.weights[1:]) > 0
        total = total - logprobs.gather(1, tokens[1:, None])[:, 0][learned].sum()
        count += int(learned.sum())
    return total / count


def assert_equal(model: PreTrainedModel, examples: list[tuple[Sample]], folder: Path) -> None:
    """Raise AssertionError unless loss and gradients are those of plain transformers and of TRL, whose tokenizer is in `folder`/tokenizer."""
    samples = [sample for (sample,) in examples]
    ours = peers.learner(model, tokens_per_micro_batch=500)
    loss = learn(ours, examples)["loss"]
    grads = peers.gradients(ours.model)

    dense = copy.deepcopy(model)
    theirs = dense_loss(dense, samples)
    theirs.backward()
    assert loss == pytest.approx(theirs.item(), rel=peers.TOLERANCE)
    assert peers.far(grads, peers.gradients(dense)) == {}

    peer = copy.deepcopy(model)
    theirs = trl_loss(peer, samples, folder)
    theirs.backward()
    assert loss == pytest.approx(theirs.item(), rel=peers.TOLERANCE)
    assert peers.far(grads, peers.gradients(peer)) == {}


@pytest.mark.parametrize("kind", models.KINDS)
def test_loss_and_gradients_are_trls_and_plain_transformers(kind: models.Kind, tmp_path: Path) -> None:
    assert_equal(models.random_model(kind), peers.some_conversations(tmp_path), tmp_path)


@pytest.mark.parametrize("family", PUBLISHED, ids=str)
def test_on_published_families_too(family: Family, tmp_path: Path) -> None:
    assert_equal(family.load(tmp_path / "tokenizer"), peers.some_conversations(tmp_path), tmp_path)


@pytest.mark.parametrize("kind", models.KINDS)
def test_logprobs_are_those_of_dense_logits(kind: models.Kind, tmp_path: Path) -> None:
    samples = [sample for (sample,) in peers.some_conversations(tmp_path)]
    model = models.random_model(kind)
    ours = peers.learner(model)
    batch = to_batch(samples, packed=ours.packed, device=ours.device)
    logprobs = ours(batch)
    expected = []
    for sample in samples:
        tokens = torch.from_numpy(sample.tokens).long()
        dense = model(input_ids=tokens[None]).logits[0, :-1].log_softmax(-1).gather(1, tokens[1:, None])[:, 0]
        expected.append(dense[torch.from_numpy(sample.weights[1:]) > 0])
    torch.testing.assert_close(logprobs, torch.cat(expected), rtol=peers.TOLERANCE, atol=1e-5)
