"""What a run of `dpo` says of the principles that its held-out pairs break."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.recipes.runs import make_settings
from training.common.records import PrincipleAccuracy, Sample
from training.datasets.encoding import ChatEncoder, ContextLimit, Pairs, pairs
from training.learner.models import load_tokenizer
from training.recipes.dpo.loop import dpo
from training.recipes.principles import principle_accuracies


def sample(learned_tokens: int) -> Sample:
    return Sample.of([1, *range(learned_tokens)], [0.0, *[1.0] * learned_tokens])


def test_preference_is_by_token() -> None:
    """Three pairs. Before, log p per token: -2 against -1 (wrong), -1 against -1 (half), -3 against -4 (right). After: all right.

    The first chosen text has 10 tokens and the rejected one 20, so that sums alone would order them the other way round.
    """
    some = Pairs(
        examples=[(sample(10), sample(20)), (sample(10), sample(10)), (sample(5), sample(5))],
        principles=[("a",), ("a", "b"), ("b",)],
    )
    before = [[-20.0, -20.0], [-10.0, -10.0], [-15.0, -20.0]]
    after = [[-10.0, -30.0], [-9.0, -10.0], [-15.0, -20.0]]
    first, second = principle_accuracies(some, before, after)
    assert (first.principle, first.pairs, first.before.value, first.after.value) == ("a", 2, 0.25, 1.0)
    assert (second.principle, second.pairs, second.before.value, second.after.value) == ("b", 2, 0.75, 1.0)
    assert first.after.low == pytest.approx(0.3424, abs=1e-4)  # Wilson's interval of 2 in 2
    assert first.after.high == pytest.approx(1.0)


def of_two_principles(path: Path) -> None:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for number, line in enumerate(lines):
        line["principles"] = [["plain", 2]] if number % 2 else [["plain", 2], ["short", 1]]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_run_tells_of_them(tmp_path: Path) -> None:
    settings = make_settings("dpo", tmp_path, steps=4)
    of_two_principles(settings.held_out[0])
    assert dpo(settings)
    told = [
        PrincipleAccuracy.model_validate(one) for one in json.loads((settings.run_dir / "principles.json").read_text())
    ]
    assert [(one.principle, one.pairs) for one in told] == [("plain", 6), ("short", 3)]
    for model, side in ((settings.model, "before"), (settings.run_dir / "model", "after")):
        assert told[0].model_dump()[side]["value"] == pytest.approx(preferred(settings, model))


def preferred(settings: Any, folder: Path) -> float:
    """The share of held-out pairs whose good text a model finds likelier per token, by transformers alone."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    found = pairs(settings.held_out, ChatEncoder(load_tokenizer(folder), folder), ContextLimit(1024, "refuse"))

    def mean(one: Sample) -> float:
        tokens = torch.tensor(one.tokens.astype("int64"))[None]
        with torch.no_grad():
            logprobs = model(input_ids=tokens).logits[0, :-1].log_softmax(-1)
        own = logprobs.gather(1, tokens[0, 1:, None])[:, 0]
        return float(own[torch.tensor(one.weights[1:]) > 0].mean())

    right = [mean(chosen) > mean(rejected) for chosen, rejected in found.examples]
    return sum(right) / len(right)


def test_killed_after_its_last_step(tmp_path: Path) -> None:
    """The measure of the last step is gone with the process; what is told is the same."""
    whole = make_settings("dpo", tmp_path, run="whole", steps=4, checkpoint_every=1)
    of_two_principles(whole.held_out[0])
    assert dpo(whole)
    again = whole.model_copy(update={"run_dir": tmp_path / "again"})
    assert dpo(again)
    (again.run_dir / "principles.json").unlink()
    assert dpo(again)
    assert (again.run_dir / "principles.json").read_text() == (whole.run_dir / "principles.json").read_text()
