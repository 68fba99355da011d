"""Runs on several machines: GPUs on all of them or none, one lease, and each machine frees its own. `tests/faults/test_machines.py` has real ones."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now

from tests.workers.jobs.site import snapshot_of
from workers import machine as machines
from workers.folders import private, run_folder
from workers.jobs.keeper import Keeper
from workers.jobs.runs import claim, node
from workers.jobs.runs.command import Meeting, command, sockets
from workers.jobs.runs.follow import RENDEZVOUS
from workers.jobs.runs.node import Node
from workers.jobs.runs.results import end
from writer.accounts.models import User
from writer.stories.models import ModelVersion
from writer.studio.models import Gpu, Machine, Run, RunState

pytestmark = pytest.mark.django_db


def registered(name: str, gpus: int = 1, *, kind: str = "processor", ago: timedelta = timedelta()) -> Machine:
    made = Machine.objects.create(name=name, seen=Now() - ago)
    for index in range(gpus):
        made.gpus.create(index=index, name=kind)
    return made


@pytest.fixture
def queued(base: ModelVersion, admin: User) -> Callable[..., Run]:
    def make(nodes: int = 2, gpus: int = 1, **more: Any) -> Run:
        snapshot = snapshot_of(1, number=Run.objects.count() + 1)
        given = {
            "recipe": "dpo",
            "settings": {},
            "base": base,
            "snapshot": snapshot,
            "by": admin,
            "state": RunState.QUEUED,
        }
        run = Run.objects.create(**given, nodes=nodes, gpus=gpus, **more)
        Run.objects.filter(pk=run.pk).update(queued=run.created)
        return run

    return make


def holders() -> list[tuple[str, int | None]]:
    return sorted(Gpu.objects.values_list("machine__name", "run"), key=str)


def test_gpus_on_all_machines_in_one_claim(here: Machine, queued: Callable[..., Run]) -> None:
    registered("b", 2)
    run = queued()
    found = claim.claim(here)
    assert found == run
    assert found.machine == here
    assert found.meeting == {"machines": sorted(["b", here.name])}
    assert holders() == sorted([("b", None), ("b", run.pk), (here.name, run.pk)], key=str)
    assert claim.taking_part(here) == []
    assert claim.taking_part(Machine.objects.get(name="b")) == [run.pk]


@pytest.mark.parametrize(
    "other",
    [
        {"gpus": 0},
        {"kind": "an A100"},
        {"ago": claim.SEEN + timedelta(seconds=1)},
        {"ago": timedelta(days=3)},
    ],
)
def test_or_no_gpu_at_all(here: Machine, queued: Callable[..., Run], other: dict[str, Any]) -> None:
    registered("b", **{"gpus": 1} | other)
    queued()
    assert claim.claim(here) is None
    assert {run for _, run in holders()} <= {None}


def test_each_machine_gives_as_many_gpus_as_are_asked_for(here: Machine, queued: Callable[..., Run]) -> None:
    """Three GPUs of one machine and one of another are four, but not two each."""
    here.gpus.create(index=1, name="processor")
    registered("b", 3)
    registered("c", 1)
    queued(nodes=3, gpus=1)
    run = queued(nodes=2, gpus=2)
    Run.objects.exclude(pk=run.pk).update(state=RunState.STOPPED, finished=Now())
    assert claim.claim(here) == run
    assert [name for name, held in holders() if held] == sorted(["b", "b", here.name, here.name])


def test_it_is_not_overtaken_for_ever_where_it_could_run(here: Machine, queued: Callable[..., Run]) -> None:
    other, small = registered("b"), queued(nodes=1)
    other.gpus.update(run=small)
    wide, late = queued(), queued(nodes=1)
    Run.objects.filter(pk=small.pk).update(
        state=RunState.RUNNING, machine=other, lease_until=Now() + timedelta(minutes=1), started=Now()
    )
    Run.objects.filter(pk=wide.pk).update(queued=Now() - claim.PATIENCE - timedelta(minutes=1))
    assert claim.claim(here) is None, "the GPU is kept for the run that needs two machines"
    Machine.objects.filter(pk=other.pk).update(seen=Now() - timedelta(hours=1))
    assert claim.claim(here) == late, "there are not two machines any more"


def led(run: Run, here: Machine, other: Machine) -> Run:
    """The run, claimed by the other machine."""
    claimed = claim.claim(other)
    assert claimed == run
    lease = claimed.attempt
    assert lease == 0
    return claimed


def test_the_leading_machine_is_gone(here: Machine, queued: Callable[..., Run]) -> None:
    """Its run waits for two machines again; what it held stays held until it says that nothing is left of it."""
    other = registered("b")
    run = led(queued(), here, other)
    claim.release_leaderless()
    Run.objects.filter(pk=run.pk).update(lease_until=Now() - timedelta(seconds=1))
    claim.release_leaderless()
    run.refresh_from_db()
    assert run.state == RunState.RUNNING, "its follower is late, but its machine is there"
    Machine.objects.filter(pk=other.pk).update(seen=Now() - claim.GONE - timedelta(seconds=1))
    before = run.attempt
    claim.release_leaderless()
    run.refresh_from_db()
    assert (run.state, run.rendezvous, run.lease_until) == (RunState.QUEUED, None, None)
    assert run.attempt == before + 1, "a follower that comes back writes nothing"
    assert not end(run, before, RunState.DONE, "")
    assert claim.taking_part(here) == claim.taking_part(other) == [run.pk]
    registered("c")
    Gpu.objects.filter(machine=here).update(run=None)
    again = claim.claim(here)
    assert again == run
    assert again.meeting["machines"] == sorted(["c", here.name])
    Machine.objects.filter(pk=other.pk).update(seen=Now())
    assert claim.taking_part(other) == [run.pk], "it still has to free its GPU"


@pytest.mark.parametrize("wish", ["stop", "kill"])
def test_a_stop_that_the_leading_machine_did_not_live_to_see(
    here: Machine, queued: Callable[..., Run], wish: str
) -> None:
    other = registered("b")
    run = led(queued(), here, other)
    Run.objects.filter(pk=run.pk).update(lease_until=Now() - timedelta(seconds=1), wish=wish)
    Machine.objects.filter(pk=other.pk).update(seen=Now() - claim.GONE - timedelta(seconds=1))
    claim.release_leaderless()
    run.refresh_from_db()
    assert (run.state, run.wish) == (RunState.STOPPED, "")
    assert run.finished is not None


def test_a_machine_that_still_holds_gpus_of_an_earlier_attempt_takes_no_part(
    here: Machine, queued: Callable[..., Run]
) -> None:
    other, run = registered("b", 2), queued()
    other.gpus.filter(index=0).update(run=run)
    assert claim.claim(here) is None
    assert claim.claim(other) is None
    other.gpus.update(run=None)
    assert claim.claim(here) == run


def test_the_end_frees_the_gpus_of_this_machine_alone(here: Machine, queued: Callable[..., Run]) -> None:
    registered("b")
    run = queued()
    claim.claim(here)
    assert end(run, run.attempt, RunState.STOPPED, "")
    assert holders() == sorted([("b", run.pk), (here.name, None)], key=str)


def test_only_the_machine_that_leads_follows(here: Machine, queued: Callable[..., Run]) -> None:
    other = registered("b")
    run = led(queued(), here, other)
    assert claim.take_over(run.pk) is None
    Run.objects.filter(pk=run.pk).update(machine=here)
    assert claim.take_over(run.pk) is not None


def test_the_keeper_starts_this_machine_s_part_once(
    here: Machine, site: Path, queued: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[Any, ...]] = []

    class Alive:
        def poll(self) -> None:
            return None

    def start(_: Keeper, run: int, folder: Path, *options: str) -> Any:
        started.append((run, folder, *options))
        return Alive()

    monkeypatch.setattr(Keeper, "_start", start)
    keeper = Keeper()
    keeper._machine = here
    run = led(queued(), here, registered("b"))
    keeper._runs()
    keeper._runs()
    assert started == [(run.pk, run_folder(run) / "nodes" / here.name, "--node")]
    keeper.stop()


@pytest.fixture
def part(site: Path, here: Machine, queued: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> Node:
    """This machine's part of a run that another one leads, without a process of its own."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(node, "SHARING_PATIENCE", 0.0)
    run = led(queued(), here, registered("b"))
    meet(run, "first")
    return Node(run.pk)


def meet(run: Run, name: str) -> None:
    place = {"id": name, "endpoint": "10.0.0.1:29500"}
    Run.objects.filter(pk=run.pk).update(rendezvous={"machines": sorted(["b", socket.gethostname()])} | place)


class Part:
    """A FAKE process that ended with this status, or none."""

    def __init__(self, status: int | None) -> None:
        self.status = status

    def poll(self) -> int | None:
        return self.status


def look(part: Node) -> Run:
    run = part._read()
    assert run is not None
    part._look(run)
    run.refresh_from_db()
    return run


def test_each_rendezvous_is_joined_once(part: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    joined: list[str] = []

    def start(run: Run, settings: Path, folder: Path, name: str) -> Any:
        assert (settings, folder, name) == (run_folder(run) / "run.json", part.folder, socket.gethostname())
        joined.append(run.meeting["id"])
        return Part(None)

    monkeypatch.setattr("workers.jobs.runs.command.start", start)
    folder = run_folder(part.run_id)
    (folder / RENDEZVOUS).write_text("first")
    for _ in range(3):
        run = look(part)
    assert joined == ["first"]
    meet(run, "second")
    (folder / RENDEZVOUS).write_text("second")
    look(part)
    assert joined == ["first", "second"]
    part._child = Part(0)  # type: ignore[assignment]
    assert look(part).meeting["id"] == "second", "it ended well: the leading machine's end counts"
    part._child = Part(1)  # type: ignore[assignment]
    assert "id" not in look(part).meeting, "the other parts end, too"
    assert "machines" in look(part).meeting
    meet(run, "second")
    again = Node(part.run_id)
    assert "id" not in look(again).meeting, "a process that replaces this one does not join a second time"
    assert joined == ["first", "second"]


@pytest.mark.parametrize("why", ["another folder", "an older file", "no model"])
def test_what_a_machine_lacks_is_said_on_the_run_s_page(part: Node, base: ModelVersion, why: str) -> None:
    folder = run_folder(part.run_id)
    if why == "an older file":
        (folder / RENDEZVOUS).write_text("of another start")
    if why == "no model":
        (folder / RENDEZVOUS).write_text("first")
        ModelVersion.objects.filter(pk=base.pk).update(tokenizer=str(folder / "nowhere"))
    run = look(part)
    assert run.state == RunState.FAILED
    here = socket.gethostname()
    assert run.problem.startswith(f"The machine {here} ")
    assert ("share or copy it" if why == "no model" else "same folder at the same path") in run.problem
    assert part._read() is None
    part._leave()
    assert holders() == sorted([("b", run.pk), (here, None)], key=str)


def test_a_machine_that_leads_again_frees_nothing(part: Node, here: Machine) -> None:
    Run.objects.filter(pk=part.run_id).update(machine=here)
    assert part._read() is None
    part._leave()
    assert (here.name, part.run_id) in holders()


def test_the_processes_of_all_machines_meet(tmp_path: Path) -> None:
    settings = tmp_path / "run.json"
    meeting = Meeting(3, "10.0.0.1:29500", "7-abc", leads=True, address="10.0.0.1")
    found = command("dpo", settings, 4, meeting)
    assert found[:3] == [sys.executable, "-m", "torch.distributed.run"]
    assert found[-4:] == ["-m", "training", "dpo", str(settings)]
    told = dict(zip(found[3:-4:2], found[4:-4:2], strict=True))
    assert told == {
        "--nnodes": "3",
        "--nproc-per-node": "4",
        "--rdzv-backend": "c10d",
        "--rdzv-endpoint": "10.0.0.1:29500",
        "--rdzv-id": "7-abc",
        "--rdzv-conf": "is_host=true",
        "--local-addr": "10.0.0.1",
    }
    assert "is_host=false" in command("dpo", settings, 4, meeting._replace(leads=False))
    assert "--nnodes" in command("dpo", settings, 1, meeting), "one process on each machine is several, too"
    assert "--nnodes" not in command("dpo", settings, 4)


def test_a_machine_s_address(settings: Any) -> None:
    settings.MACHINE_ADDRESS = "10.1.2.3"
    assert machines.address() == "10.1.2.3"
    assert sockets("10.1.2.3") == {}
    settings.MACHINE_ADDRESS = ""
    assert socket.inet_aton(machines.address())
    assert sockets("127.0.0.1") == {"NCCL_SOCKET_IFNAME": "lo", "GLOO_SOCKET_IFNAME": "lo"}


def test_the_folder_of_a_part_is_in_the_run_s(site: Path) -> None:
    made = private(node.node_folder(7, "b"))
    assert made.parent.parent == run_folder(7)
