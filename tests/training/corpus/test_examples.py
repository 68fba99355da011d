"""The examples in the docstrings are true."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest

from training.corpus import clean, flatten, headings, profile, split


@pytest.mark.parametrize("module", [clean, flatten, headings, profile, split])
def test_examples(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed
