"""The events of a run in the database: each once, old runs' log lines as records, and the reason of a failure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.utils import timezone

from tests.training.learner.test_old_runs import OLD
from training.common.errors import EXIT_MENDABLE
from training.common.events import EventLog
from training.common.records import Ended, LogLine, Resumed
from workers.jobs.runs.claim import LEASE, take_over
from workers.jobs.runs.events import AT_ONCE, MOST_LINE, last_end, new_events, store
from workers.jobs.runs.follow import Follower
from workers.lease import Lease, Lost
from writer.studio.models import Machine, Run, RunEvent, RunState


def test_lines_are_read_once_and_only_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert new_events(path, 0) == ([], 0)
    log = EventLog(path)
    log.log("first")
    whole = path.stat().st_size
    with path.open("a") as file:
        file.write('{"kind":"log","time":1,"te')
    found, upto = new_events(path, 0)
    assert ([one.text for one in found], upto) == (["first"], whole)
    assert new_events(path, upto) == ([], whole), "the line may still be on its way"
    EventLog(path).log("second")  # the run was killed in the middle of that line, and resumed
    found, upto = new_events(path, upto)
    assert ([one.text for one in found], upto) == (["second"], path.stat().st_size)


def test_what_is_no_event_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\xff\xfe\n7\n[]\n{}\n" + b'{"kind":"log","time":1,"text":"kept"}\n')
    assert [one.text for one in new_events(path, 0)[0]] == ["kept"]
    path.write_bytes(b"x" * (MOST_LINE + 1))
    assert new_events(path, 0) == ([], MOST_LINE + 1)


def test_many_events_come_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("".join(f'{{"kind":"log","time":1,"text":"{number}"}}\n' for number in range(AT_ONCE + 5)))
    first, upto = new_events(path, 0)
    rest, end = new_events(path, upto)
    assert [one.text for one in first + rest] == [str(number) for number in range(AT_ONCE + 5)]
    assert end == path.stat().st_size


def test_how_a_run_ended_is_its_newest_end_since(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.ended("failed", reason="Too long.")
    since = path.stat().st_size
    assert (found := last_end(path, 0)) is not None
    assert (found.outcome, found.reason) == ("failed", "Too long.")
    assert last_end(path, since) is None
    log.resumed(Path("run/checkpoints/step-000005"), 5)
    log.ended("stopped", 7)
    assert (found := last_end(path, 0)) is not None
    assert (found.outcome, found.step) == ("stopped", 7)


MISTAKE = "The settings file run.json has mistakes: steps: Input should be greater than or equal to 1."


@pytest.mark.parametrize(
    ("status", "reason", "problem"),
    [
        (EXIT_MENDABLE, "", MISTAKE),
        (EXIT_MENDABLE, "The data is gone.", "The data is gone."),
        (None, "The data is gone.", "The data is gone."),
        (None, "", None),
        (1, "", None),
        (-9, "", None),
    ],
)
def test_why_a_training_failed(follower: Follower, status: int | None, reason: str, problem: str | None) -> None:
    """By its events; by its exit status and last line of output, where it failed before it had any; else it died."""
    follower.output.write_text(f"Something before.\n{MISTAKE}\n")
    if reason:
        EventLog(follower.events).ended("failed", reason=reason)
    assert follower._problem(status) == problem


def test_an_old_run_that_failed(follower: Follower) -> None:
    follower.events.write_text('{"kind":"log","time":1,"text":"Stopped: The data is gone."}\n')
    assert follower._problem(None) == "The data is gone."


@pytest.mark.parametrize(
    "text", ["Stopped: 5 stories without an end.", "Interrupted.", "Going on from step-7.", "The model is in tears."]
)
def test_a_line_of_a_new_run_is_only_a_line(text: str, follower: Follower) -> None:
    """Whatever a recipe says, of another package too: a run that is killed after it is started again."""
    EventLog(follower.events).log(text)
    ((line,), _) = new_events(follower.events, 0)
    assert (line.kind, line.text) == ("log", text)
    assert follower._problem(-9) is None


@pytest.mark.django_db(transaction=True)
def test_an_old_run_is_stored_as_records(here: Machine, queued: Callable[..., Run], tmp_path: Path) -> None:
    run = queued()
    Run.objects.filter(pk=run.pk).update(
        state=RunState.RUNNING, machine=here, lease_until=timezone.now(), started=timezone.now()
    )
    lease = take_over(run.pk)
    assert lease is not None
    found, upto = new_events(OLD / "events.jsonl", 0)
    store(lease, found, upto)
    rows = list(RunEvent.objects.filter(run=run).order_by("seq"))
    assert [row.seq for row in rows] == list(range(1, len(found) + 1))
    assert [row.text for row in rows if row.kind not in ("metrics", "phase", "log")] == [
        one.text for one in found if isinstance(one, Ended | Resumed)
    ]
    assert [row.text for row in rows if row.kind == "log"] == [one.text for one in found if isinstance(one, LogLine)]
    assert {row.text for row in rows if row.kind == "metrics"} == {""}
    (resumed,) = [row for row in rows if row.kind == "resumed"]
    assert (resumed.step, resumed.body) == (5, {"checkpoint": "run/checkpoints/step-000005"})
    run.refresh_from_db()
    assert (run.step, run.steps, run.last_seq, run.read_bytes) == (8, 20, len(found), upto)
    with pytest.raises(Lost):
        store(Lease(queued(), 1, LEASE), found, upto)
    second = take_over(run.pk)
    with pytest.raises(Lost):
        store(lease, found, upto + 1)
    assert second is not None
    EventLog(tmp_path / "events.jsonl").log("A line.")
    store(second, new_events(tmp_path / "events.jsonl", 0)[0], upto + 1)
    assert RunEvent.objects.get(run=run, seq=len(found) + 1).body == {"text": "A line."}
