"""Our DPO against TRL's trainer and against plain transformers, with a reference that is another model."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import PreTrainedModel
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from tests.families import PUBLISHED, Family
from tests.oracles import peers
from tests.training import models
from training.datasets.encoding import Pairs
from training.learner.engine import Learner
from training.recipes.dpo import DpoSettings
from training.recipes.dpo.loop import dpo_pair_loss, reference_sums
from training.recipes.pairs import learn_pairs

BETA = 0.1


def trl_loss(policy: Any, reference: Any, some: Pairs, folder: Path, loss_type: str, smoothing: float) -> torch.Tensor:
    tokenizer = peers.fast_tokenizer(folder)
    config = DPOConfig(
        **peers.trl_settings(folder / "trl"), beta=BETA, loss_type=[loss_type], label_smoothing=smoothing
    )
    trainer = DPOTrainer(
        policy, ref_model=reference, args=config, train_dataset=peers.one_row("pair"), processing_class=tokenizer
    )
    rows = []
    for chosen, rejected in some.examples:
        prompt = int(chosen.weights.argmax())
        assert (chosen.tokens[:prompt] == rejected.tokens[:prompt]).all()
        rows.append(
            {
                "prompt_ids": chosen.tokens[:prompt].tolist(),
                "chosen_ids": chosen.tokens[prompt:].tolist(),
                "rejected_ids": rejected.tokens[prompt:].tolist(),
            }
        )
    batch = DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id)(rows)
    loss: torch.Tensor = trainer._compute_loss(policy, batch, False)
    return loss


def dense_sums(model: Any, some: Pairs) -> torch.Tensor:
    """log p of both texts of each pair, [P, 2], one text at a time from all logits."""
    sums = []
    for example in some.examples:
        for sample in example:
            tokens = torch.from_numpy(sample.tokens).long()
            logprobs = model(input_ids=tokens[None]).logits[0, :-1].log_softmax(-1).gather(1, tokens[1:, None])[:, 0]
            sums.append((logprobs * torch.from_numpy(sample.weights[1:])).sum())
    return torch.stack(sums).view(-1, 2)


def our_loss(policy: Learner, reference: Any, some: Pairs, folder: Path, **more: Any) -> float:
    """With the reference's log-probabilities computed and kept by our own recipe, from another model's learner."""
    models.save(reference, folder / "reference")
    settings = DpoSettings(run_dir=folder / "run", model=folder / "reference", data=(Path(),), beta=BETA, **more)
    # The recipe's reference is the learner itself, before its first step: here one that has another model's weights.
    other = peers.learner(reference)
    reference_sums(other, some, settings)  # fills the cache
    pair_loss = dpo_pair_loss(reference_sums(policy, some, settings), policy, some, settings)  # reads it
    return learn_pairs(policy, some, range(len(some.examples)), pair_loss)["loss"]


def assert_equal(model: PreTrainedModel, reference: PreTrainedModel, some: Pairs, folder: Path) -> None:
    """Raise AssertionError unless loss and gradients are those of plain transformers and of TRL, whose tokenizer is in `folder`/tokenizer."""
    ours = peers.learner(model, tokens_per_micro_batch=600)
    loss = our_loss(ours, reference, some, folder)
    grads = peers.gradients(ours.model)
    assert loss != pytest.approx(0.6931, abs=0.01)

    dense = copy.deepcopy(model)
    with torch.no_grad():
        base = dense_sums(reference, some)
    ratios = dense_sums(dense, some) - base
    theirs = -F.logsigmoid(BETA * (ratios[:, 0] - ratios[:, 1])).mean()
    theirs.backward()
    assert loss == pytest.approx(theirs.item(), rel=peers.TOLERANCE)
    assert peers.far(grads, peers.gradients(dense)) == {}

    peer = copy.deepcopy(model)
    theirs = trl_loss(peer, copy.deepcopy(reference), some, folder, "sigmoid", 0.0)
    theirs.backward()
    assert loss == pytest.approx(theirs.item(), rel=peers.TOLERANCE)
    assert peers.far(grads, peers.gradients(peer)) == {}


@pytest.mark.parametrize("kind", models.KINDS)
def test_loss_and_gradients_are_trls_and_plain_transformers(kind: models.Kind, tmp_path: Path) -> None:
    some = peers.some_pairs(tmp_path)
    assert_equal(models.random_model(kind), models.random_model(kind, seed=5), some, tmp_path)


@pytest.mark.parametrize("family", PUBLISHED, ids=str)
def test_on_published_families_too(family: Family, tmp_path: Path) -> None:
    model = family.load(tmp_path / "tokenizer")
    reference = copy.deepcopy(model)
    with torch.no_grad():
        for one in reference.parameters():
            one += 0.05 * torch.randn_like(one)
    assert_equal(model, reference, peers.some_pairs(tmp_path, most=3), tmp_path)


def test_the_length_normalised_loss_is_trls(tmp_path: Path) -> None:
    some = peers.some_pairs(tmp_path)
    model, reference = models.random_model("qwen3"), models.random_model("qwen3", seed=5)
    loss = our_loss(peers.learner(model), reference, some, tmp_path, length_normalised=True)
    theirs = trl_loss(copy.deepcopy(model), reference, some, tmp_path, "sigmoid_norm", 0.0)
    assert loss == pytest.approx(theirs.item(), rel=peers.TOLERANCE)


def test_soft_labels_and_smoothing_are_the_conservative_loss(tmp_path: Path) -> None:
    """TRL's `robust` loss with smoothing e is (conservative - 2e * nothing) / (1 - 2e) of flipped terms; here the plain formula."""
    some = peers.some_pairs(tmp_path, label=0.75)
    model, reference = models.random_model("qwen3"), models.random_model("qwen3", seed=5)
    loss = our_loss(peers.learner(model), reference, some, tmp_path, label_smoothing=0.1)
    with torch.no_grad():
        ratios = dense_sums(model, some) - dense_sums(reference, some)
    margin = BETA * (ratios[:, 0] - ratios[:, 1])
    right = 0.75 * 0.8 + 0.1
    expected = (-right * F.logsigmoid(margin) - (1 - right) * F.logsigmoid(-margin)).mean().item()
    assert loss == pytest.approx(expected, rel=peers.TOLERANCE)
