"""Runs whose parts are killed: none is lost, none runs twice, and no GPU has two of them."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.db import connection

from tests.workers.jobs.site import wait, work
from training.common.manifest import verify
from workers.folders import run_folder
from workers.jobs.keeper import Keeper
from workers.jobs.runs import claim
from workers.processes import processes_of
from writer.accounts.models import User
from writer.refusals import NotNow
from writer.stories.models import ModelVersion
from writer.studio.models import Evaluation, Gpu, Machine, Run, RunEvent, RunState
from writer.studio.operations.ask_run import resume_run, stop_run

pytestmark = pytest.mark.django_db(transaction=True)
LONG = 400
"""Steps of a run that is still at work when something is done to it."""


def follower_of(run: Run) -> int:
    return int((run_folder(run) / ".follower").read_text())


def trainings(run: Run) -> list[int]:
    """The processes of a training of one process: the first, and what it may have forked, by their parents."""
    found = processes_of(run_folder(run))
    ids = {one.pid for one in found}
    return [one.pid for one in found if one.ppid() not in ids]


@contextmanager
def watched(run: Run) -> Iterator[list[int]]:
    """How many trainings of the run were at work at the same time, looked at all the time."""
    seen: list[int] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            seen.append(len(trainings(run)))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def at_step(run: Run, step: int) -> Callable[[], bool]:
    def there() -> bool:
        run.refresh_from_db()
        return run.step >= step

    return there


def begun(keeper: Keeper, run: Run, step: int = 3) -> Run:
    work(keeper, run, RunState.RUNNING)
    wait(at_step(run, step), why="the run did not get going")
    return run


def looked(keeper: Keeper) -> bool:
    keeper._runs()
    return True


def check_events(run: Run) -> None:
    """Numbered without a gap, and as many as the file has."""
    numbers = list(RunEvent.objects.filter(run=run).values_list("seq", flat=True))
    assert numbers == list(range(1, len(numbers) + 1))
    lines = (run_folder(run) / "events.jsonl").read_bytes().strip().split(b"\n")
    assert len([line for line in lines if line]) == len(numbers)


def test_a_run_from_the_queue_to_a_version(keeper: Keeper, queued: Callable[..., Run]) -> None:
    run = work(keeper, queued(), RunState.DONE, RunState.FAILED)
    assert run.state == RunState.DONE, run.problem
    assert (run.step, run.steps, run.wish, run.lease_until) == (6, 6, "", None)
    version = run.version
    assert version is not None
    assert version.parent == run.base
    folder = run_folder(run)
    verify(folder, version.manifest, ["model", "adapter"])
    assert {"model/model.safetensors", "adapter/adapter_model.safetensors"} <= version.manifest.keys()
    wait(lambda: not (folder / "data").exists() and not (folder / "checkpoints").exists())
    assert not Gpu.objects.exclude(run=None).exists()
    assert Evaluation.objects.filter(version=version).count() == 1
    kinds = set(RunEvent.objects.filter(run=run).values_list("kind", flat=True))
    assert kinds == {"metrics", "phase", "log", "model_saved", "ended"}
    check_events(run)


@pytest.mark.parametrize(
    "who", ["both", *(pytest.param(who, marks=pytest.mark.soak) for who in ("training", "follower"))]
)
def test_kill_9(who: str, keeper: Keeper, queued: Callable[..., Run]) -> None:
    run = begun(keeper, queued(steps=60))
    with watched(run) as seen:
        before = trainings(run)
        if who != "training":
            os.kill(follower_of(run), signal.SIGKILL)
        if who != "follower":
            os.kill(before[0], signal.SIGKILL)
        if who == "follower":
            lost, there = time.monotonic(), at_step(run, run.step + 2)
            wait(lambda: looked(keeper) and there(), why="nobody follows it")
            assert time.monotonic() - lost < 30
            assert trainings(run) in (before, []), "the training was not started again: it never stopped"
        work(keeper, run, RunState.DONE, RunState.FAILED)
    assert run.state == RunState.DONE, run.problem
    assert run.step == 60
    assert max(seen) == 1
    check_events(run)


def test_a_frozen_follower_is_replaced(keeper: Keeper, queued: Callable[..., Run]) -> None:
    run = begun(keeper, queued(steps=60))
    frozen = follower_of(run)
    os.kill(frozen, signal.SIGSTOP)
    try:
        with watched(run) as seen:
            work(keeper, run, RunState.DONE, RunState.FAILED)
    finally:
        with suppress(ProcessLookupError):
            os.kill(frozen, signal.SIGCONT)
    assert run.state == RunState.DONE, run.problem
    assert follower_of(run) != frozen
    assert max(seen) == 1
    check_events(run)


def test_the_database_drops_its_connections(keeper: Keeper, queued: Callable[..., Run]) -> None:
    run = begun(keeper, queued(steps=40))
    for _ in range(3):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
            )
        time.sleep(0.5)
    work(keeper, run, RunState.DONE, RunState.FAILED)
    assert run.state == RunState.DONE, run.problem
    assert run.attempt == 1, "the follower came back by itself"
    check_events(run)


def test_the_site_goes_down_with_its_database(
    keeper: Keeper, queued: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when `make run` is killed: nothing can be written down any more, and yet nothing is lost or left running."""
    life, lives = socket.socketpair()
    monkeypatch.setenv("LONGHAND_LIFE", str(lives.fileno()))
    run = begun(keeper, queued(steps=100), 5)
    follower, _ = keeper._followers[run.pk]
    with no_new_connections():
        life.close()
        wait(lambda: not processes_of(run_folder(run)), why="the training continues without the site")
        wait(lambda: follower.poll() is not None, why="its follower does")
    lives.close()
    monkeypatch.delenv("LONGHAND_LIFE")
    work(keeper, run, RunState.DONE, RunState.FAILED)
    assert run.state == RunState.DONE, run.problem
    assert (run.attempt, run.step) == (2, 100)
    assert RunEvent.objects.filter(run=run, kind="metrics", step=1).count() == 1, "it went on from its checkpoint"
    check_events(run)


@contextmanager
def no_new_connections() -> Iterator[None]:
    """The database as it is when it is gone, but for this test's own connection."""
    name, ours = connection.settings_dict["NAME"], connection.connection.info.backend_pid
    elsewhere = urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path="/postgres"))
    with psycopg.connect(elsewhere, autocommit=True) as server:
        server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid != %s", [name, ours]
        )
        try:
            yield
        finally:
            server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


def test_saved_stopped_and_gone_on(keeper: Keeper, queued: Callable[..., Run], admin: User) -> None:
    run = begun(keeper, queued(steps=LONG))
    stop_run(by=admin, run_id=run.pk)
    work(keeper, run, RunState.STOPPED)
    assert not processes_of(run_folder(run))
    assert not Gpu.objects.exclude(run=None).exists()
    at = run.step
    assert 0 < at < LONG
    Run.objects.filter(pk=run.pk).update(settings=run.settings | {"steps": LONG})
    resume_run(by=admin, run_id=run.pk)
    begun(keeper, run, at + 1)
    stop_run(by=admin, run_id=run.pk, at_once=True)
    work(keeper, run, RunState.STOPPED)
    assert not processes_of(run_folder(run))
    assert run.step > at
    check_events(run)


def test_what_a_training_says_of_itself_is_the_problem(keeper: Keeper, queued: Callable[..., Run]) -> None:
    run = queued(learning_rate=1.0)
    Run.objects.filter(pk=run.pk).update(settings=run.settings | {"overlong": "refuse", "context": 16})
    work(keeper, run, RunState.FAILED)
    assert "raise context" in run.problem
    assert "Traceback" not in run.problem
    assert "/studio/runs/" not in run.problem
    assert run.attempt == 1
    assert not Gpu.objects.exclude(run=None).exists()


def test_a_training_that_dies_again_and_again_is_given_up(
    keeper: Keeper,
    queued: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = queued()
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", "/nonexistent")
    assert run.base is not None
    model = Path(run.base.tokenizer) / "model.safetensors"
    model.write_bytes(b"\xff" * 100)
    work(keeper, run, RunState.FAILED)
    assert run.problem
    assert not Gpu.objects.exclude(run=None).exists()


def test_one_gpu_one_run_however_many_look_for_work(here: Machine, queued: Callable[..., Run]) -> None:
    runs = [queued() for _ in range(5)]
    with ThreadPoolExecutor(8) as pool:
        taken = [run for run in pool.map(_claim, [here] * 16) if run is not None]
    assert len(taken) == 1
    assert taken[0].pk == runs[0].pk
    assert Gpu.objects.filter(run=taken[0]).count() == 1


def _claim(machine: Machine) -> Run | None:
    try:
        return claim.claim(machine)
    finally:
        connection.close()


def test_the_queue_is_fair_between_people(
    here: Machine, queued: Callable[..., Run], admin: User, make_editor: Callable[[], User]
) -> None:
    """Somebody with five runs in the queue does not keep another one waiting until all five are done."""
    other = make_editor()
    first = [queued() for _ in range(5)]
    late = queued(by=other)
    order = []
    for _ in range(3):
        run = claim.claim(here)
        assert run is not None
        order.append(run.pk)
        Gpu.objects.update(run=None)
        Run.objects.filter(pk=run.pk).update(state=RunState.DONE, finished=run.created, lease_until=None)
    assert order == [first[0].pk, late.pk, first[1].pk]


def test_cancelled_while_it_was_finishing(keeper: Keeper, queued: Callable[..., Run], admin: User) -> None:
    """One outcome, and whoever came too late is told."""
    run = queued(steps=4)
    work(keeper, run, RunState.RUNNING)
    told = []
    while run.state == RunState.RUNNING:
        try:
            stop_run(by=admin, run_id=run.pk)
        except NotNow as refusal:
            told.append(refusal.detail)
        keeper._runs()
        run.refresh_from_db()
    assert run.state in (RunState.STOPPED, RunState.DONE)
    assert (run.version_id is not None) == (run.state == RunState.DONE)
    with pytest.raises(NotNow, match="ended already"):
        stop_run(by=admin, run_id=run.pk)
    assert ModelVersion.objects.filter(parent=run.base).count() == (run.state == RunState.DONE)
