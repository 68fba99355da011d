"""The dry run: its files, its estimates, and its refusals."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from tests.workers.jobs.site import snapshot_of, wait
from training.common.errors import MendableError
from training.common.text import count_words
from workers.folders import datasets, private, run_folder
from workers.jobs.datasets import add_dataset
from workers.jobs.runs import planning
from workers.jobs.runs.material import examples_of, prepare
from workers.jobs.runs.planning import TOKENS_PER_WORD, make, waiting
from workers.machine import register
from writer.accounts.models import User
from writer.editorial.models import Making, Snapshot, SnapshotKind, SnapshotRow
from writer.editorial.operations.freeze import brief_of, take_of
from writer.stories.models import ModelVersion
from writer.studio.defaults import defaults_of
from writer.studio.held_out import is_held_out
from writer.studio.models import Dataset, DatasetKind, Gpu, Run, RunEvent, RunState
from writer.studio.operations.ask_run import stop_run

pytestmark = pytest.mark.django_db
Settings = Any
Draft = Callable[..., Run]
PAIRS = 60


@pytest.fixture
def snapshot(db: None) -> Snapshot:
    return snapshot_of(PAIRS)


@pytest.fixture
def draft(base: ModelVersion, admin: User, snapshot: Snapshot) -> Draft:
    """A run that nobody has planned yet; by default preferences, eight a step."""

    def made(*, recipe: str = "dpo", starts_itself: bool = False, gpus: int = 1, nodes: int = 1, **changes: Any) -> Run:
        dataset, learned = changes.pop("dataset", None), changes.pop("snapshot", snapshot)
        values = (
            defaults_of(recipe, base) | ({} if recipe == "pretrain" else {"batch": 8}) | {"context": 1024} | changes
        )
        return Run.objects.create(
            recipe=recipe, settings=values, base=base, snapshot=None if dataset else learned, dataset=dataset,
            by=admin, starts_itself=starts_itself, gpus=gpus, nodes=nodes,
        )  # fmt: skip

    return made


def another_snapshot(*words: int, held_out: bool = False, state: str = Making.READY, problem: str = "") -> Snapshot:
    """A pair of so many words for each, on prompts that are all held out, or none of them."""
    snapshot = Snapshot.objects.create(
        number=9, kind=SnapshotKind.PREFERENCE, query={}, described="", state=state, problem=problem
    )
    names = count()
    for index, number in enumerate(words):
        briefs = (brief_of(None, title=f"Mill {name}", premise="A miller.", target=250) for name in names)
        brief = next(one for one in briefs if is_held_out(one.sha256) == held_out)
        chosen, rejected = (take_of(brief, " ".join([word] * number)) for word in ("rain", "snow"))
        SnapshotRow.objects.create(
            snapshot=snapshot,
            index=index,
            sha256=f"{index:064x}",
            brief=brief,
            chosen=chosen,
            rejected=rejected,
            origin={},
        )
    return snapshot


def planned(run: Run) -> dict[str, Any]:
    make(run.pk)
    run.refresh_from_db()
    assert run.plan is not None
    assert run.pk not in waiting()
    return dict(run.plan)


def lines(run: Run, name: str) -> list[dict[str, Any]]:
    text = (run_folder(run) / "data" / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def held_out_rows() -> int:
    return sum(is_held_out(row.brief.sha256) for row in SnapshotRow.objects.select_related("brief") if row.brief)


def test_a_mixture_of_experts_is_refused_before_its_data_is_written(
    draft: Draft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mixtral", "num_local_experts": 8}')
    monkeypatch.setattr(planning, "model_path", lambda _: tmp_path)
    run = draft()
    assert "is a mixture of experts (mixtral), which cannot be trained here" in planned(run)["problem"]
    assert not (run_folder(run) / "data").exists()


def test_what_it_takes(draft: Draft) -> None:
    run = draft(epochs=2)
    plan = planned(run)
    assert "problem" not in plan
    assert 0 < plan["held_out"] == held_out_rows()
    assert plan["rows"] == PAIRS - plan["held_out"]
    words = [
        count_words(" ".join(message["content"] for message in (*line["prompt"], *line[side])))
        for line in lines(run, "train")
        for side in ("chosen", "rejected")
    ]
    assert plan["tokens"] == pytest.approx(sum(words) * TOKENS_PER_WORD, abs=1)
    assert plan["steps"] == run.steps == 2 * -(-plan["rows"] // 8)  # the last step of an epoch takes the rest
    assert plan["memory"] > 0
    assert run.state == RunState.DRAFT, "a person presses the button"
    assert run.lease_until is None


def test_what_is_held_out_is_never_learned(draft: Draft, snapshot: Snapshot) -> None:
    """All rows of a brief are on the same side."""
    for row in SnapshotRow.objects.filter(snapshot=snapshot).select_related("brief"):
        row.pk, row.index, row.sha256 = (snapshot.pk, row.index + PAIRS), row.index + PAIRS, f"{row.index:064x}"
        row.save(force_insert=True)
    run = draft()
    planned(run)
    apart = {
        row.brief.title: is_held_out(row.brief.sha256)
        for row in SnapshotRow.objects.select_related("brief")
        if row.brief
    }
    for name, is_apart in (("train", False), ("held_out", True)):
        found = [line["prompt"][0]["content"].split("Title: ")[1].split("\n")[0] for line in lines(run, name)]
        assert sorted(found) == sorted(2 * [title for title, held_out in apart.items() if held_out == is_apart])


def test_rows_as_the_recipes_read_them(draft: Draft) -> None:
    pairs, conversations = draft(), draft(recipe="sft")
    for run in (pairs, conversations):
        assert "problem" not in planned(run)
    first = lines(pairs, "train")[0]
    assert (first["strength"], first["label"]) == (2, 1.0)
    assert {"prompt", "chosen", "rejected"} <= first.keys()
    assert [message["role"] for message in lines(conversations, "train")[0]["messages"]] == ["user", "assistant"]
    assert lines(conversations, "train")[0]["messages"][1:] == first["chosen"]


def test_prepared_again_it_is_the_same(draft: Draft) -> None:
    run = draft()
    path = prepare(run)
    before = {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}
    assert len(before) == 3
    prepare(run)
    assert {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()} == before


def test_a_data_set_says_itself_what_is_held_out(draft: Draft, admin: User) -> None:
    folder = private(datasets() / "letters")
    line = json.dumps(
        {"messages": [{"role": "user", "content": "Write."}, {"role": "assistant", "content": "It rained."}]}
    )
    (folder / "train.jsonl").write_text(f"{line}\n" * 10 + "\n")
    (folder / "held_out.jsonl").write_text(f"{line}\n" * 3)
    letters = Dataset.objects.create(name="Letters", kind=DatasetKind.CONVERSATIONS, folder="letters", by=admin)
    plan = planned(draft(recipe="sft", dataset=letters))
    assert (plan["rows"], plan["held_out"]) == (10, 3)
    assert "cannot learn from" in planned(draft(dataset=letters))["problem"]


@pytest.mark.parametrize(("starts_itself", "asked", "batch"), [(True, 32, 6), (True, 2, 2), (False, 32, 32)])
def test_small_data_are_read_in_smaller_steps(draft: Draft, starts_itself: bool, asked: int, batch: int) -> None:
    run = draft(starts_itself=starts_itself, batch=asked, epochs=3)
    plan = planned(run)
    assert run.settings["batch"] == batch
    assert json.loads((run_folder(run) / "run.json").read_text())["batch"] == batch
    assert any(f"Steps take {batch} examples" in note for note in plan["notes"]) == (batch != asked)
    assert run.state == (RunState.QUEUED if starts_itself else RunState.DRAFT)
    assert (run.queued is not None) == starts_itself


def test_rows_that_are_too_long_fill_no_step(draft: Draft) -> None:
    """They are left out of the training, so the batch is measured by those that are left. Each row is taken once here."""
    once = {"max_repeats": 1}
    mixed = another_snapshot(*[5] * 5, *[4000] * 20)
    assert "there are only 5" in planned(draft(overlong="drop", snapshot=mixed, mix=once))["problem"]
    run = draft(overlong="drop", starts_itself=True, epochs=10, snapshot=mixed, mix=once)
    plan = planned(run)
    assert any("20 of 25 rows" in note and "left out" in note for note in plan["notes"])
    assert (run.settings["batch"], run.state) == (2, RunState.QUEUED)


def test_more_asked_than_the_model_holds(draft: Draft, base: ModelVersion) -> None:
    config = Path(base.tokenizer) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": 16}))
    plan = planned(draft(overlong="drop"))
    assert "no row" in plan["problem"]
    assert "16 tokens" in plan["problem"]


def fail_by_batch(run: Run, settings: Settings) -> str:
    run.settings["batch"] = 1000
    run.save()
    return "One step takes 1000 examples"


def fail_by_held_out(run: Run, settings: Settings) -> str:
    run.snapshot = another_snapshot(5, 5, held_out=True)
    run.save()
    return "nothing to train on"


def fail_by_snapshot(run: Run, settings: Settings) -> str:
    run.snapshot = another_snapshot(state=Making.FAILED, problem="No votes.")
    run.save()
    return "snapshot 9 is not ready: No votes."


def fail_by_disk(run: Run, settings: Settings) -> str:
    settings.STUDIO_DISK_GB = 1
    return "GB of disk"


def fail_by_memory(run: Run, settings: Settings) -> str:
    Gpu.objects.create(machine=register(), index=7, name="NVIDIA H100", memory=80 * 10**9)
    run.settings["learner"]["tokens_per_micro_batch"] = 2**24
    run.settings["learner"] |= {"gradient_checkpointing": False, "precision": "float32"}
    run.save()
    return "does not fit into a GPU's memory"


@pytest.mark.parametrize("starts_itself", [False, True])
@pytest.mark.parametrize("fail", [fail_by_batch, fail_by_held_out, fail_by_snapshot, fail_by_disk, fail_by_memory])
def test_problems_in_words(
    draft: Draft, settings: Settings, fail: Callable[[Run, Settings], str], starts_itself: bool
) -> None:
    run = draft(starts_itself=starts_itself and fail is not fail_by_batch)
    said = fail(run, settings)
    assert said in planned(run)["problem"]
    if run.starts_itself:
        assert (run.state, run.problem) == (RunState.FAILED, run.plan["problem"] if run.plan else "")
        assert run.finished is not None
    else:
        assert run.state == RunState.DRAFT


def test_it_waits_for_its_snapshot(draft: Draft) -> None:
    run = draft(snapshot=another_snapshot(state=Making.WAITING))
    assert waiting() == []
    make(run.pk)
    run.refresh_from_db()
    assert run.plan is None
    Snapshot.objects.filter(number=9).update(state=Making.READY)
    assert waiting() == [run.pk]


def test_a_planner_that_died(draft: Draft) -> None:
    run = draft()
    Run.objects.filter(pk=run.pk).update(lease_until=timezone.now() + timedelta(seconds=60))
    assert waiting() == [], "somebody is at it"
    Run.objects.filter(pk=run.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert "problem" not in planned(run)


@pytest.mark.django_db(transaction=True)
def test_two_planners_at_once(draft: Draft, monkeypatch: pytest.MonkeyPatch) -> None:
    run = draft(starts_itself=True)
    plans: list[int] = []

    def plan(one: Run) -> dict[str, Any]:
        plans.append(one.pk)
        time.sleep(0.3)
        return {"steps": 4, "notes": []}

    def planner() -> None:
        try:
            make(run.pk)
        finally:
            connection.close()

    monkeypatch.setattr(planning, "_plan", plan)
    with ThreadPoolExecutor(2) as pool:
        with transaction.atomic():
            Run.objects.select_for_update().get(pk=run.pk)
            planners = [pool.submit(planner), pool.submit(planner)]
            wait(lambda: _waiting_for_locks() == 2)
        for one in planners:
            one.result(20)
    run.refresh_from_db()
    assert plans == [run.pk]
    assert (run.state, run.steps) == (RunState.QUEUED, 4)


def _waiting_for_locks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return int(cursor.fetchone()[0])


def test_discarded_while_it_is_planned(draft: Draft, admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    run = draft(starts_itself=True)

    def plan(one: Run) -> dict[str, Any]:
        stop_run(by=admin, run_id=one.pk)
        return {"steps": 4, "notes": []}

    monkeypatch.setattr(planning, "_plan", plan)
    make(run.pk)
    run.refresh_from_db()
    assert (run.state, run.plan, run.steps) == (RunState.STOPPED, None, 0)


@pytest.mark.parametrize("gpus", [1, 2])
def test_hours_by_the_last_good_run(draft: Draft, base: ModelVersion, gpus: int) -> None:
    def ended(state: str, speeds: list[float], **fields: Any) -> Run:
        run = draft()
        Run.objects.filter(pk=run.pk).update(state=state, finished=timezone.now(), plan={}, **fields)
        for seq, speed in enumerate(speeds, 1):
            RunEvent.objects.create(
                run=run, seq=seq, kind="metrics", time=timezone.now(), body={"values": {"tokens_per_second": speed}}
            )
        return run

    plan = planned(draft())
    assert (plan["gpu_hours"], plan["hours_from"]) == (None, "no run of this kind has been made on a processor yet")
    good = ended(RunState.DONE, [1.0, 500.0, 900.0])
    ended(RunState.FAILED, [7.0])
    ended(RunState.DONE, [7.0], recipe="sft")
    ended(RunState.DONE, [7.0], base=ModelVersion.objects.create(name="other", served_name="other", tokenizer="-"))
    plan = planned(draft(gpus=gpus))
    assert plan["hours_from"] == f"by the speed of run {good.pk}"
    tokens = plan["steps"] * 8 * plan["tokens"] / plan["rows"]
    assert plan["gpu_hours"] == pytest.approx(tokens / 500 / 3600, rel=0.01), "twice the speed on twice the GPUs"


def test_several_machines(draft: Draft, base: ModelVersion) -> None:
    """What they need is in the plan, and what has not been run is said."""
    register()
    learner = defaults_of("dpo", base)["learner"] | {"zero_stage": 2}
    plan = planned(draft(nodes=2, learner=learner))
    assert "2 machines of 1 x" in plan["text"]
    assert "not run  on GPUs of several machines" in plan["text"]
    waits, not_run = plan["notes"][-2:]
    assert waits == "It waits until 2 machines have 1 GPUs each; 1 are registered."
    assert "have not been run on GPUs yet" in not_run
    assert not any("machines" in note for note in planned(draft())["notes"])


def test_hours_by_arithmetic(draft: Draft) -> None:
    Gpu.objects.create(machine=register(), index=7, name="NVIDIA H200", memory=141 * 10**9)
    plan = planned(draft())
    assert plan["card"] == "h200"
    assert plan["gpu_hours"] > 0
    assert plan["hours_from"].startswith("computed")


def test_the_site_may_limit_the_disk(site: Path, settings: Settings) -> None:
    settings.STUDIO_DISK_GB = 1
    private(site / "studio")
    before = planning.free_disk()
    assert before is not None
    (site / "studio" / "weights").write_bytes(b"x" * 2**22)
    after = planning.free_disk()
    assert after is not None
    assert before - after == pytest.approx(2**22, rel=0.01)
    assert before <= 1e9


def test_a_mixture_of_data_sets(draft: Draft, snapshot: Snapshot, tmp_path: Path) -> None:
    """Each source is a file of its own with its weight, and what is held out of all is one. The plan says how much of each is read."""
    found = []
    for name, rows in (("Books", 8), ("Letters", 5)):
        (folder := tmp_path / name).mkdir()
        for part, number in (("train", rows), ("held_out", 2)):
            lines = [json.dumps({"text": f"{name} {part} {one} " + "rain " * 50}) for one in range(number)]
            (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
        found.append(add_dataset(name, folder))
    first, second = (f"dataset:{one.pk}" for one in found)
    run = draft(recipe="pretrain", dataset=found[0], sources={second: 2.4, first: 0.5})
    make(run.pk)
    run.refresh_from_db()
    assert run.plan is not None
    assert "problem" not in run.plan
    assert (run.plan["rows"], run.plan["held_out"]) == (13, 4)
    assert run.plan["sources"] == [
        {"name": "Books", "rows": 8, "weight": 0.5, "read": 4},
        {"name": "Letters", "rows": 5, "weight": 2.4, "read": 12},
    ]
    settings = json.loads((run_folder(run) / "run.json").read_text())
    assert settings["data_weights"] == [0.5, 2.4]
    texts = [
        [json.loads(line)["text"].split()[0] for line in Path(path).read_text().splitlines()]
        for path in settings["data"]
    ]
    assert texts == [["Books"] * 8, ["Letters"] * 5]
    assert {line["text"].split()[0] for line, _ in examples_of(run)} == {"Books", "Letters"}
    alone = draft(recipe="pretrain", dataset=found[0])
    make(alone.pk)
    alone.refresh_from_db()
    assert alone.plan is not None
    assert alone.plan["sources"] == []
    assert json.loads((run_folder(alone) / "run.json").read_text())["data_weights"] == []
    assert run.plan["tokens"] == pytest.approx(alone.plan["tokens"] * (0.5 + 2.4 * 5 / 8), rel=0.05)
    found[1].delete()
    with pytest.raises(MendableError, match="is not there any more"):
        prepare(run)
