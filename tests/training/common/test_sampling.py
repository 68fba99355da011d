"""The record of sampling, and what of it reaches a model server."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from training.common.sampling import Sampling
from training.serving.vllm import importable


def test_what_is_stored_is_read_again() -> None:
    for one in (Sampling(), Sampling(temperature=0, min_p=0), Sampling(top_p=0.9, seed=7, thinking=False)):
        assert Sampling.read(one.stored()) == one
    assert Sampling().stored() == {"temperature": 0.8, "min_p": 0.05, "top_p": 1.0}


def test_a_row_of_before_min_p_is_read_as_it_was_sampled() -> None:
    old = Sampling.read({"temperature": 1.0, "top_p": 0.9, "seed": 3})
    assert (old.temperature, old.top_p, old.min_p, old.seed) == (1.0, 0.9, 0.0, 3)


@pytest.mark.skipif(not importable(), reason="vLLM is not installed here")
def test_it_says_all_that_a_generation_config_could_set() -> None:
    """vLLM fills in what a request leaves out from the model's generation_config.json, unless it is started otherwise."""
    spec = find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    source = (Path(spec.origin).parent / "config/model.py").read_text()
    listed = re.search(r"available_params = \[(.*?)\]", source, re.DOTALL)
    assert listed is not None
    names = set(re.findall(r'"(\w+)"', listed[1]))
    assert {"temperature", "top_p", "min_p"} <= names
    assert names - {"max_new_tokens"} == set(Sampling().parameters())
