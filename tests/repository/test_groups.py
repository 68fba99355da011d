"""Tests of a group run in one process, so that their set-up is done once (pytest 9.2 with pytest-xdist 3.8 silently ignores groups)."""

from __future__ import annotations

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="there is one process only: `pytest -n 2`")
@pytest.mark.xdist_group("a group")
def test_a_group_is_known(request: pytest.FixtureRequest) -> None:
    assert request.node.nodeid.endswith("@a group")
