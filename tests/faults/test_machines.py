"""A run on two machines that share nothing but its folder: they are one, and so is what becomes of it when one of them fails."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db.models.functions import Now

from tests.machines import NetworkMachine, machines
from tests.workers.jobs.site import wait
from workers.folders import private, run_folder
from workers.jobs.runs import claim
from writer.accounts.models import User
from writer.stories.models import ModelVersion
from writer.studio.models import Gpu, Machine, Run, RunEvent, RunState
from writer.studio.operations.ask_run import stop_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("machines")]
ZERO = 2


@pytest.fixture
def two(site: Path, base: ModelVersion) -> Iterator[list[NetworkMachine]]:
    runs = private(site / "studio" / "runs")
    database = parse_qs(urlsplit(os.environ["DATABASE_URL"]).query)["host"][0]
    environment = dict(os.environ) | {
        "DJANGO_SETTINGS_MODULE": "webapp.settings",
        "MODEL_SERVER_URL": "http://127.0.0.1:9",
    }
    with machines(["left", "right"], [runs, Path(database)], [Path(base.tokenizer)], environment, site) as made:
        wait(lambda: Machine.objects.count() == 2, why="no machine has registered")
        yield made
        for path in sorted(site.rglob("*.log")):
            print(f"--- {path.relative_to(site)}\n{path.read_text()[-3000:]}")


@pytest.fixture
def run(two: list[NetworkMachine], queued: Callable[..., Run]) -> Run:
    made = queued(steps=12, zero_stage=ZERO)
    Run.objects.filter(pk=made.pk).update(nodes=2)
    return made


def state(run: Run) -> str:
    run.refresh_from_db()
    return run.state


def at_step(run: Run, step: int) -> Callable[[], bool]:
    def there() -> bool:
        assert state(run) not in (RunState.FAILED, RunState.DONE), f"{run.state}: {run.problem}"
        return run.state == RunState.RUNNING and run.step >= step

    return there


def leader_and_other(run: Run, two: list[NetworkMachine]) -> tuple[NetworkMachine, NetworkMachine]:
    assert run.machine is not None
    first, second = two
    return (first, second) if run.machine.name == first.name else (second, first)


def hours_pass(machine: NetworkMachine) -> None:
    """It has not been seen for longer than the others wait for it."""
    Machine.objects.filter(name=machine.name).update(seen=Now() - claim.GONE - timedelta(seconds=1))


def holders() -> set[tuple[str, int | None]]:
    return set(Gpu.objects.values_list("machine__name", "run"))


def check_done(run: Run) -> None:
    wait(lambda: state(run) in (RunState.DONE, RunState.FAILED), 120, "the run does not end")
    assert run.state == RunState.DONE, run.problem
    assert run.step == 12
    assert run.rendezvous is None
    wait(lambda: holders() == {("left", None), ("right", None)}, why="a machine keeps its GPU")
    numbers = list(RunEvent.objects.filter(run=run).values_list("seq", flat=True))
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_machine_goes_dark_and_comes_back(two: list[NetworkMachine], run: Run) -> None:
    """Nothing tells the leading machine but that the other is not seen any more. The run waits until there are two, and resumes."""
    wait(at_step(run, 3), 120, "the run did not get going")
    leader, other = leader_and_other(run, two)
    assert holders() == {("left", run.pk), ("right", run.pk)}
    assert len(leader.pids("dpo")) == len(other.pids("dpo")) == 2, "torchrun and one rank on each"
    other.cut()
    hours_pass(other)
    wait(lambda: state(run) == RunState.QUEUED, 60, "the run continues with half of its processes")
    assert not leader.pids("dpo")
    wait(
        lambda: holders() == {(leader.name, None), (other.name, run.pk)},
        why="the GPU of the machine that is there is not free",
    )
    other.boot()
    check_done(run)
    assert run.attempt == 2
    assert RunEvent.objects.filter(run=run, kind="resumed").exists()


@pytest.mark.soak
def test_a_rank_is_killed(two: list[NetworkMachine], run: Run) -> None:
    """Both machines' parts end and begin anew, and the run keeps its GPUs."""
    wait(at_step(run, 3), 240, "the run did not get going")
    leader, other = leader_and_other(run, two)
    before = set(leader.pids("dpo"))
    os.kill(max(other.pids("dpo")), signal.SIGKILL)
    wait(lambda: before.isdisjoint(leader.pids("dpo")), why="the leading machine's part does not end")
    check_done(run)
    assert run.attempt == 1
    assert RunEvent.objects.filter(run=run, kind="resumed").exists()


@pytest.mark.soak
def test_the_leading_machine_goes_dark(two: list[NetworkMachine], run: Run) -> None:
    """The other one takes the run over when there are two again, and the old one gives back what it held."""
    wait(at_step(run, 3), 240, "the run did not get going")
    leader, other = leader_and_other(run, two)
    leader.cut()
    hours_pass(leader)
    wait(lambda: state(run) == RunState.QUEUED, 60, "the run waits for a machine that is gone")
    wait(lambda: holders() == {(leader.name, run.pk), (other.name, None)}, why="the other machine keeps its GPU")
    assert not other.pids("dpo")
    leader.boot()
    check_done(run)


@pytest.mark.soak
@pytest.mark.parametrize("at_once", [False, True])
def test_stop_and_kill_reach_all_machines(
    two: list[NetworkMachine], queued: Callable[..., Run], admin: User, at_once: bool
) -> None:
    run = queued(steps=400, zero_stage=ZERO)
    Run.objects.filter(pk=run.pk).update(nodes=2)
    wait(at_step(run, 3), 240, "the run did not get going")
    stop_run(by=admin, run_id=run.pk, at_once=at_once)
    wait(lambda: state(run) == RunState.STOPPED, 60, "it does not stop")
    wait(lambda: holders() == {("left", None), ("right", None)}, why="a machine keeps its GPU")
    assert not [pid for one in two for pid in one.pids("dpo")]
    saved = (run_folder(run) / "checkpoints" / f"step-{run.step:06}").is_dir()
    assert saved or at_once
