"""Fixtures of a real run: a tiny model, a snapshot of made-up judgements, and this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.conf import settings as django_settings
from django.db import connection

from tests.training import models
from workers import machine, processes
from workers.folders import run_folder
from workers.jobs.keeper import Keeper
from writer.accounts.models import User
from writer.editorial.messages import row_digest
from writer.editorial.models import Making, Snapshot, SnapshotKind, SnapshotRow
from writer.editorial.operations.freeze import brief_of, take_of
from writer.stories.models import ModelVersion
from writer.studio.defaults import defaults_of
from writer.studio.models import Machine, Run, RunState

Settings = Any


@pytest.fixture
def site(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its folder; processes that are started see this test's database and nothing of another one's."""
    settings.VAR = tmp_path
    monkeypatch.setenv("DATABASE_URL", database_url())
    monkeypatch.setenv("VAR", str(tmp_path))
    monkeypatch.setenv("DEBUG", "true")
    return tmp_path


def database_url() -> str:
    """The address of the database of this test."""
    parts = urlsplit(os.environ["DATABASE_URL"])
    return urlunsplit(parts._replace(path=f"/{connection.settings_dict['NAME']}"))


@pytest.fixture
def base(site: Path) -> ModelVersion:
    folder = models.save(models.random_model("qwen3"), site / "tiny")
    return ModelVersion.objects.create(name="tiny", served_name="tiny", tokenizer=str(folder))


def snapshot_of(pairs: int, *, number: int = 1) -> Snapshot:
    """Judgement on made-up stories: what is preferred ends with the same word."""
    snapshot = Snapshot.objects.create(number=number, kind=SnapshotKind.PREFERENCE, query={}, described="made up")
    rows = []
    for index in range(pairs):
        brief = brief_of(None, title=f"Story {index}", premise="A keeper alone.", target=200)
        chosen = take_of(brief, f"The lamp was lit at {index}. She came up the stairs and waited there for the boat.")
        rejected = take_of(
            brief, f"It rained {index} days. Nothing at all came of it in the end, and nobody minded that."
        )
        origin = {
            "source": "votes",
            "pair": index + 1,
            "votes": [{"vote": index, "editor": 5, "value": -2}],
            "principles": [["particular-thing", 1]],
        }
        rows.append(
            SnapshotRow(
                snapshot=snapshot, index=index, sha256=row_digest(brief.sha256, chosen.sha256, rejected.sha256),
                brief=brief, chosen=chosen, rejected=rejected, origin=origin, label=1.0,
            )
        )  # fmt: skip
    SnapshotRow.objects.bulk_create(rows)
    snapshot.state, snapshot.rows, snapshot.counts = Making.READY, pairs, {"sources": {}, "left_out": {}}
    snapshot.save()
    return snapshot


@pytest.fixture
def queued(base: ModelVersion, admin: User) -> Callable[..., Run]:
    """A run in the queue, with data and settings that take seconds."""
    snapshots: list[Snapshot] = []

    def make(*, steps: int = 6, by: User = admin, **learner: Any) -> Run:
        if not snapshots:
            snapshots.append(snapshot_of(24))
        values = defaults_of("dpo", base)
        values |= {"steps": steps, "batch": 2, "context": 256, "checkpoint_every": 2, "evaluate_every": 100}
        values["learner"] |= {"precision": "float32", "threads": 1, "learning_rate": 1e-3} | learner
        run = Run.objects.create(
            recipe="dpo",
            settings=values,
            base=base,
            snapshot=snapshots[0],
            by=by,
            state=RunState.QUEUED,
            plan={"steps": steps},
        )
        Run.objects.filter(pk=run.pk).update(queued=run.created)
        return run

    return make


@pytest.fixture
def here(db: None) -> Machine:
    return machine.register()


@pytest.fixture
def keeper(site: Path, here: Machine) -> Iterator[Keeper]:
    """Its parts are called by the tests; no thread of it runs. What it started is gone afterwards."""
    made = Keeper()
    made._machine = here
    yield made
    made.stop()
    for run in Run.objects.all():
        Run.objects.filter(pk=run.pk, state=RunState.RUNNING).update(
            state=RunState.STOPPED, finished=run.created, lease_until=None
        )
        processes.kill(run_folder(run))
    for follower, _ in made._followers.values():
        if follower.poll() is None:
            follower.kill()
        follower.wait(10)


def wait(what: Callable[[], object], seconds: float = 90.0, why: str = "it did not happen") -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, why
        time.sleep(0.1)


def work(keeper: Keeper, run: Run, *states: str, seconds: float = 120.0) -> Run:
    """Let the keeper look again and again until the run is in one of these states."""

    def there() -> bool:
        keeper._runs()
        run.refresh_from_db()
        return run.state in states

    try:
        wait(there, seconds)
    except AssertionError:
        folder = Path(django_settings.VAR) / "studio" / "runs" / str(run.pk)
        said = "\n".join(
            path.read_text()[-3000:] for path in (folder / "output.log", folder / "follower.log") if path.exists()
        )
        raise AssertionError(f"run {run.pk} is {run.state}, not {states}; {run.problem}\n{said}") from None
    return run
