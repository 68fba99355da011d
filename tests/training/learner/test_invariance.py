"""Results that must not depend on micro-batches, packing, chunks or recomputation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training import models
from training.common.errors import MendableError
from training.common.records import Sample
from training.config.learner import LearnerSettings
from training.datasets.encoding import ChatEncoder, ContextLimit, conversations
from training.learner import processes
from training.learner.batches import Example, micro_batches, to_batch
from training.learner.engine import Learner
from training.learner.models import can_pack, load_tokenizer, prepare
from training.objectives.logprobs import token_logprobs
from training.recipes.sft.loop import learn


def learner(kind: models.Kind, *, packed: bool | None = None, **changes: object) -> Learner:
    chosen = LearnerSettings.model_validate({"precision": "float32", "threads": 1} | changes)
    model = prepare(models.random_model(kind), chosen)
    return Learner(model, chosen, packed=can_pack(model, chosen, lambda _: None) if packed is None else packed)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Sample]]:
    folder = tmp_path_factory.mktemp("examples")
    models.save(models.random_model("qwen3"), folder / "model")
    encoder = ChatEncoder(load_tokenizer(folder / "model"), folder)
    return conversations([models.conversations(folder / "sft.jsonl", 8)], encoder, ContextLimit(2048, "refuse"))


def step(one: Learner, examples: list[tuple[Sample]]) -> tuple[float, torch.Tensor]:
    loss = learn(one, examples)["loss"]
    return loss, torch.cat([p.grad.flatten() for p in one.model.parameters() if p.grad is not None])


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize(("kind", "packed"), [("qwen3", True), ("qwen3", False), ("llama", True), ("qwen3.5", False)])
def test_eight_micro_batches_give_the_gradients_of_one(
    kind: models.Kind, packed: bool, examples: list[tuple[Sample]]
) -> None:
    one, eight = (
        learner(kind, packed=packed, tokens_per_micro_batch=10**6),
        learner(kind, packed=packed, tokens_per_micro_batch=1),
    )
    assert [len(list(some.split_across_ranks(examples))) for some in (one, eight)] == [1, 8]
    (loss, grads), (other_loss, other_grads) = step(one, examples), step(eight, examples)
    assert loss == pytest.approx(other_loss, rel=1e-6)
    assert relative(grads, other_grads) < 1e-5


@pytest.mark.parametrize(("kind", "packed"), [("qwen3", True), ("llama", True), ("qwen3", False), ("qwen3.5", False)])
def test_a_story_among_others_has_the_logprobs_that_it_has_alone(
    kind: models.Kind, packed: bool, examples: list[tuple[Sample]]
) -> None:
    one = learner(kind, packed=packed)
    together = to_batch([sample for (sample,) in examples], packed=packed, device=one.device)
    logprobs = one(together)
    for number, (sample,) in enumerate(examples):
        alone = one(to_batch([sample], packed=packed, device=one.device))
        torch.testing.assert_close(logprobs[together.text_N == number], alone, rtol=1e-5, atol=1e-5)


def test_the_loss_of_a_packed_text_has_no_gradient_for_its_neighbour(examples: list[tuple[Sample]]) -> None:
    """With a leak, the embedding of a token that only the neighbour has would get a gradient."""
    one = learner("qwen3")
    left, right = examples[0][0], examples[1][0]
    silent = Sample(left.tokens, np.zeros_like(left.weights))
    only_left = np.setdiff1d(left.tokens, right.tokens)
    assert len(only_left)
    one(to_batch([silent, right], packed=True, device=one.device)).sum().backward()
    gradient = one.model.get_input_embeddings().weight.grad
    assert gradient is not None
    assert gradient[only_left].abs().max() == 0
    assert gradient[right.tokens[1]].abs().max() > 0


def test_packing_is_refused_where_it_would_leak(examples: list[tuple[Sample]]) -> None:
    on = LearnerSettings(precision="float32", packing="on")
    with pytest.raises(MendableError, match=r"linear_attention carry their state .* Set packing to 'auto' or 'off'"):
        can_pack(models.random_model("qwen3.5"), on, lambda _: None)
    logged: list[str] = []
    assert not can_pack(models.random_model("qwen3.5"), LearnerSettings(), logged.append)
    assert "rows of similar length" in logged[0]
    # without the check, the second of two packed texts has other log-probabilities than alone
    leaky = learner("qwen3.5", packed=True)
    first, second = examples[0][0], examples[1][0]
    together = to_batch([first, second], packed=True, device=leaky.device)
    alone = leaky(to_batch([second], packed=True, device=leaky.device))
    assert (leaky(together)[together.text_N == 1] - alone).abs().max() > 1e-3


@pytest.mark.parametrize("kind", models.KINDS)
def test_recomputed_activations_give_the_same_gradients(kind: models.Kind, examples: list[tuple[Sample]]) -> None:
    _, kept = step(learner(kind, gradient_checkpointing=False), examples)
    _, recomputed = step(learner(kind, gradient_checkpointing=True), examples)
    assert relative(recomputed, kept) < 1e-6


@settings(max_examples=30, deadline=None)
@given(
    tokens=st.integers(0, 40), vocabulary=st.integers(2, 60), tile=st.integers(1, 3000), seed=st.integers(0, 99),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]), temperature=st.sampled_from([1.0, 0.6, 1.7]),
    differentiated=st.sampled_from(["both", "hidden", "weight"]),
)  # fmt: skip
def test_chunked_logprobs_equal_dense_ones(
    tokens: int, vocabulary: int, tile: int, seed: int, dtype: torch.dtype, temperature: float, differentiated: str
) -> None:
    torch.manual_seed(seed)
    hidden, weight = torch.randn(tokens, 8), torch.randn(vocabulary, 8)
    targets, pull = torch.randint(vocabulary, (tokens,)), torch.randn(tokens)
    results = []
    for chunked in (True, False):
        h = hidden.to(dtype, copy=True).requires_grad_(differentiated != "weight")
        w = weight.to(dtype, copy=True).requires_grad_(differentiated != "hidden")
        if chunked:
            logprobs = token_logprobs(h, w, targets, tile, temperature=temperature)
        else:
            logprobs = ((h @ w.T).float() / temperature).log_softmax(-1).gather(1, targets[:, None])[:, 0]
        (logprobs * pull).sum().backward()
        results.append((logprobs, h.grad, w.grad))
    rtol, atol = (1e-5, 1e-5) if dtype == torch.float32 else (0.05, 0.15)
    for ours, theirs in zip(*results):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)


@given(
    lengths=st.integers(1, 2).flatmap(
        lambda texts: st.lists(st.lists(st.integers(1, 50), min_size=texts, max_size=texts), max_size=12)
    ),
    processes=st.integers(1, 4), budget=st.integers(1, 120), packed=st.booleans(),
)  # fmt: skip
def test_every_example_is_in_one_micro_batch(
    lengths: list[list[int]], processes: int, budget: int, packed: bool
) -> None:
    examples: list[Example] = [
        tuple(Sample.from_lists([0] * length, [1.0] * length) for length in example) for example in lengths
    ]
    by_process = micro_batches(examples, processes=processes, budget=budget, packed=packed)
    assert len({len(parts) for parts in by_process}) == 1
    assert sorted(number for parts in by_process for part in parts for number in part) == list(range(len(examples)))
    for part in (part for parts in by_process for part in parts if len(part) > 1):
        sizes = [len(sample) for number in part for sample in examples[number]]
        largest = max(sum(map(len, example)) for example in examples)
        assert (sum(sizes) if packed else max(sizes) * len(sizes)) <= max(budget, largest * packed)


def test_bfloat16_gradients_add_up_in_float32(examples: list[tuple[Sample]]) -> None:
    """Added up in bfloat16, the gradients of many micro-batches would lose the small ones."""
    precise = learner("qwen3", tokens_per_micro_batch=10**6)
    _, expected = step(precise, examples)
    rough = learner("qwen3", precision="bfloat16", tokens_per_micro_batch=1)
    learn(rough, examples)
    masters = rough.engine.masters  # type: ignore[attr-defined]
    got = torch.cat([one.grad.flatten() for one in masters.values()])
    assert got.dtype == torch.float32
    assert relative(got, expected) < 0.03


@pytest.mark.parametrize(
    ("gib", "given", "most"), [(24, None, 3072), (79.2, None, 8192), (0.001, None, 1), (24, 500, 500)]
)
def test_a_micro_batch_follows_the_memory(gib: float, given: int | None, most: int) -> None:
    assert LearnerSettings(tokens_per_micro_batch=given).micro_batch(gib * 2**30) == most


def test_processes_with_unequal_memory_divide_a_step_alike(
    monkeypatch: pytest.MonkeyPatch, examples: list[tuple[Sample]]
) -> None:
    monkeypatch.setattr(processes, "all_gather", lambda own: [own, 1])
    divided = [numbers for numbers, _ in learner("qwen3").split_across_ranks(examples)]
    assert max(map(len, divided)) == 1
