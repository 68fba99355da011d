"""The Celery worker of runs is killed, and so is Redis: its runs continue, and none is started twice."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import Process
from tests.faults.narrators import wait_for
from tests.workers.jobs.site import wait
from workers import processes
from workers.embedded.redis import Redis
from workers.folders import run_folder
from writer.studio.models import Gpu, Machine, Run, RunState

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def broker() -> Iterator[Redis]:
    """A Redis of this test alone: it is killed, and nobody else takes from its queues."""
    server = Redis(Path(tempfile.mkdtemp(prefix="longhand-faults-")))
    server.prepare()
    server.start()
    server.wait_ready()
    yield server
    server.stop()


@pytest.fixture
def worker(site: Path, broker: Redis) -> Iterator[Callable[[], Process]]:
    """A GPU worker on this test's database."""
    started: list[Process] = []
    argv = ["-m", "celery", "-q", "-A", "webapp", "worker", "-Q", "gpu", "--pool", "threads", "-c", "2", "-n", "gpu@%h"]

    def start() -> Process:
        environment = dict(os.environ) | {"REDIS_URL": broker.url, "MODEL_SERVER_URL": "http://127.0.0.1:9"}
        started.append(Process(argv, environment, site / f"worker-{len(started)}.log"))
        return started[-1]

    yield start
    for one in started:
        one.kill()
    for run in Run.objects.all():
        Run.objects.filter(pk=run.pk, state=RunState.RUNNING).update(
            state=RunState.STOPPED, finished=run.created, lease_until=None
        )
        processes.kill(run_folder(run))
        wait_for(lambda run=run: not _alive(run), 30, "its follower does not end")  # type: ignore[misc]


def _alive(run: Run) -> bool:
    try:
        return b"follow" in Path(f"/proc/{(run_folder(run) / '.follower').read_text()}/cmdline").read_bytes()
    except OSError:
        return False


def state_is(run: Run, *states: str) -> Callable[[], bool]:
    def there() -> bool:
        run.refresh_from_db()
        return run.state in states

    return there


def test_the_worker_is_killed(worker: Callable[[], Process], queued: Callable[..., Run]) -> None:
    """The run ends without it; what waits is begun by the next one, and once."""
    first = worker()
    run = queued(steps=40)
    wait(lambda: state_is(run, RunState.RUNNING)() and run.step > 2, why="the worker did not begin it")
    second = queued(steps=4)
    first.kill()
    wait(state_is(run, RunState.DONE, RunState.FAILED), why="it did not go on without its worker")
    assert (run.state, run.attempt, run.step) == (RunState.DONE, 1, 40)
    assert state_is(second, RunState.QUEUED)()
    worker()
    wait(state_is(second, RunState.DONE, RunState.FAILED), why="the next worker did not begin what waited")
    assert (second.state, second.attempt) == (RunState.DONE, 1)
    assert Machine.objects.count() == 1
    assert not Gpu.objects.exclude(run=None).exists()


def test_redis_is_killed(worker: Callable[[], Process], broker: Redis, queued: Callable[..., Run]) -> None:
    """The worker looks for work by itself; a message would only have made it look sooner."""
    alive = worker()
    run = queued(steps=20)
    wait(lambda: state_is(run, RunState.RUNNING)() and run.step > 2, why="the worker did not begin it")
    assert broker.process is not None
    os.kill(broker.process.pid, signal.SIGKILL)
    broker.stop()
    second = queued(steps=4)
    wait(state_is(run, RunState.DONE, RunState.FAILED), why="it did not go on without Redis")
    wait(state_is(second, RunState.DONE, RunState.FAILED), why="nothing was begun without Redis")
    assert [run.attempt, second.attempt] == [1, 1]
    assert (run.state, second.state) == (RunState.DONE, RunState.DONE)
    assert alive.alive
