"""The fixtures of `tests.workers.jobs.site`, here and wherever else they are imported, a story that editors read, and a follower without a run."""

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cast import story, take
from tests.workers.jobs.site import base, here, keeper, queued, site
from workers.jobs.runs.follow import Follower

__all__ = ["base", "here", "keeper", "queued", "site", "story", "take"]


@pytest.fixture
def follower(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Follower:
    settings.VAR = tmp_path
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return Follower(7)
