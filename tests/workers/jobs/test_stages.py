"""Stages as runs: from good texts to violations that editors see, to a version that learned from them; and what may leave the site."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from tests.training.constitution.recorded import PRINCIPLES, TEXTS, Recorded, Text
from tests.training.teacher.fake import FakeTeacher
from tests.workers.jobs.site import snapshot_of, wait, work
from training.common.errors import MendableError
from training.common.heap import UNBROKEN
from training.common.records import Principle
from workers.folders import private, run_folder
from workers.jobs.datasets import add_dataset
from workers.jobs.keeper import Keeper
from workers.jobs.runs import claim, command, planning, stages
from workers.jobs.runs.material import prepare
from writer.accounts.models import User
from writer.editorial.acts import ViolationAct
from writer.editorial.models import Making, PrincipleState, Snapshot, SnapshotRow, Take, Violation, ViolationState
from writer.editorial.operations.import_constitution import import_constitution
from writer.editorial.operations.judge_violation import judge_violation
from writer.editorial.operations.make_snapshot import ask_snapshot, make_snapshot
from writer.editorial.operations.share import share
from writer.editorial.snapshots.query import SnapshotQuery
from writer.stories.models import ModelVersion
from writer.studio.defaults import defaults_of
from writer.studio.forms import form_of
from writer.studio.models import Dataset, DatasetKind, Machine, Run, RunState
from writer.studio.operations.ask_run import data_for, draft_run, start_run

pytestmark = pytest.mark.django_db(transaction=True)
Settings = Any
EACH = 8
"""Texts of each of the recorded ones, so that some prompts are held out."""


def texts() -> list[Text]:
    """The recorded ones again and again, each with words of its own before and behind it."""
    return [
        replace(one, text=f"It was night number {number} of {place}. {one.text} So ended night {number} of {place}.")
        for number in range(EACH)
        for place, one in enumerate(TEXTS)
    ]


@pytest.fixture
def recorded() -> Recorded:
    return Recorded(texts())


@pytest.fixture
def fake(site: Path, recorded: Recorded, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTeacher]:
    made = FakeTeacher(recorded)
    for name, value in (("TEACHER_URL", made.url), ("TEACHER_MODEL", "fake"), ("TEACHER_KEY", "let me in")):
        setattr(settings, name, value)
        monkeypatch.setenv(name, value)
    settings.TEACHER_OUTSIDE = True
    yield made
    made.stop()


@pytest.fixture
def constitution(db: None) -> None:
    records = [Principle.model_validate({"domains": ["fiction"], "tasks": ["write"]} | one) for one in PRINCIPLES]
    import_constitution(by=None, records=records, meaning_changed=False, state=PrincipleState.IN_FORCE)


@pytest.fixture
def stories(site: Path) -> Dataset:
    folder = private(site / "brought")
    lines = [{"text": one.text, "title": f"T{number}", "author": one.author} for number, one in enumerate(texts())]
    (folder / "train.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    return add_dataset("Old stories", folder)


@pytest.fixture
def drafted(admin: User) -> Callable[..., Run]:
    """A stage that was asked for by its form."""

    def made(recipe: str, data: Dataset | Snapshot, **typed: str) -> Run:
        entry = f"snapshot:{data.pk}" if isinstance(data, Snapshot) else f"dataset:{data.pk}"
        corpus = typed.pop("corpus", "")
        usual = {one.name: one.shown for one in form_of(recipe).fields if one.shown}
        return draft_run(by=admin, recipe=recipe, typed=usual | typed, data=entry, corpus=corpus)

    return made


SHORT = {"max_changed_share": "0.9", "max_length_ratio": "2"}
"""The recorded texts are so short that a change of one sentence is a large one."""


def begun(keeper: Keeper, run: Run, admin: User) -> Run:
    planning.make(run.pk)
    run.refresh_from_db()
    assert run.plan is not None
    assert "problem" not in run.plan, run.plan
    return start_run(by=admin, run_id=run.pk)


@pytest.mark.processes
def test_from_good_texts_to_what_a_version_learned_of_principles(
    keeper: Keeper,
    fake: FakeTeacher,
    constitution: None,
    stories: Dataset,
    drafted: Callable[..., Run],
    admin: User,
    base: ModelVersion,
) -> None:
    run = drafted("violations", stories, **SHORT)
    assert (run.base, run.gpus) == (None, 0)
    run = begun(keeper, run, admin)
    assert run.plan is not None
    assert run.plan["rows"] == len(texts())
    assert run.plan["questions"] == len(texts()) * 7
    run = work(keeper, run, RunState.DONE, RunState.FAILED)
    assert run.state == RunState.DONE, run.problem
    assert fake.keys == {"Bearer let me in"}
    assert run.report is not None
    found = list(Violation.objects.select_related("take__brief", "version__principle"))
    assert len(found) == run.report["stored"] > 0
    assert sum(run.report["rows"].values()) == run.report["stored"]
    for one in found:
        assert one.good == one.take.text, "short texts are changed as a whole"
        assert one.take.text in {text.text for text in texts()}
        assert one.worse != one.good
        assert (one.source, one.state, one.take.brief.story) == (f"run {run.pk}", ViolationState.WAITING, None)
    left = {path.name for path in run_folder(run).iterdir()}
    assert "calls.jsonl" in left, "kept for a replay: nobody's draft is in it"
    assert not left & {"data", "dataset"}

    with transaction.atomic():
        for one in found:
            judge_violation(admin, ViolationAct(kind="judge_violation", violation=one.pk, state="accepted"))
    snapshot = ask_snapshot(by=admin, query=SnapshotQuery(least_votes=1, violations="accepted"))
    make_snapshot(snapshot_id=snapshot.pk)
    snapshot.refresh_from_db()
    assert (snapshot.state, snapshot.rows) == (Making.READY, len(found)), snapshot.problem
    values = defaults_of("dpo", base) | {"steps": 4, "batch": 2, "context": 256}
    values["learner"] |= {"precision": "float32", "threads": 1, "learning_rate": 1e-3}
    learning = Run.objects.create(
        recipe="dpo", settings=values, base=base, snapshot=snapshot, by=admin, state=RunState.QUEUED, plan={"steps": 4}
    )
    Run.objects.filter(pk=learning.pk).update(queued=learning.created)
    learning = work(keeper, learning, RunState.DONE, RunState.FAILED)
    assert learning.state == RunState.DONE, learning.problem
    assert learning.report is not None
    named = {one["principle"] for one in learning.report["learned"]}
    assert named <= {one["key"] for one in PRINCIPLES}
    assert all(0 <= one["before"]["value"] <= 1 and one["pairs"] for one in learning.report["learned"])


@pytest.mark.processes
@pytest.mark.parametrize(
    ("recipe", "typed"), [("references", {"share": "1", "passage_words": "30", "min_similarity": "0.05"})]
)
def test_a_stage_becomes_a_data_set_with_its_card(
    recipe: str,
    typed: dict[str, str],
    keeper: Keeper,
    stories: Dataset,
    site: Path,
    drafted: Callable[..., Run],
    admin: User,
) -> None:
    folder = private(site / "letters")
    line = {"messages": [{"role": "user", "content": "Go on."}, {"role": "assistant", "content": texts()[0].text * 2}]}
    (folder / "train.jsonl").write_text(json.dumps(line) + "\n")
    letters = add_dataset("Letters", folder)
    run = work(
        keeper,
        begun(keeper, drafted(recipe, letters, corpus=str(stories.pk), **typed), admin),
        RunState.DONE,
        RunState.FAILED,
    )
    assert run.state == RunState.DONE, run.problem
    assert run.made is not None
    assert (run.made.kind, run.made.rows, run.made.name) == (DatasetKind.CONVERSATIONS, 1, f"{recipe} {run.pk}")
    assert run.made.card.startswith("---\npretty_name:")
    assert (f"dataset:{run.made.pk}", f"{run.made.name}: 1 rows") in data_for("sft")


@pytest.mark.processes
def test_nothing_made_is_said(
    keeper: Keeper, fake: FakeTeacher, constitution: None, stories: Dataset, drafted: Callable[..., Run], admin: User
) -> None:
    fake.answer = lambda body: json.dumps({"follows": []})
    run = work(keeper, begun(keeper, drafted("violations", stories), admin), RunState.DONE, RunState.FAILED)
    assert (run.state, Violation.objects.count()) == (RunState.FAILED, 0)
    assert run.problem.startswith("Nothing was made. Left out: 40 ")


# What may leave the site


@pytest.fixture
def judged(take: Take, owner: User, constitution: None) -> Snapshot:
    """A snapshot of one writer's story, preferred over another text, and of three that are nobody's."""
    snapshot = snapshot_of(3)
    assert take.brief.story_id
    share(by=owner, story_id=take.brief.story_id, consent="training", given=True)
    other = Take.objects.create(brief=take.brief, text="Rain.", words=1, blocks=1, sha256="0" * 64)
    SnapshotRow.objects.create(
        snapshot=snapshot,
        index=3,
        sha256="f" * 64,
        brief=take.brief,
        chosen=take,
        rejected=other,
        origin={"source": "votes"},
    )
    return snapshot


def read_by(run: Run) -> list[str]:
    lines = (run_folder(run) / "data" / stages.TEXTS).read_text("utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def test_a_draft_leaves_with_its_writers_consent_only(
    judged: Snapshot, take: Take, owner: User, fake: FakeTeacher, drafted: Callable[..., Run], settings: Settings
) -> None:
    run = drafted("violations", judged)
    prepare(run)
    assert len(read_by(run)) == 3
    assert take.text not in read_by(run)
    plan = stage_plan_of(run)
    assert plan["notes"] == ["1 of 4 good texts are left out: their writers allow no model outside this site."]
    assert "outside this site" in plan["teacher"]

    assert take.brief.story_id
    share(by=owner, story_id=take.brief.story_id, consent="outside", given=True)
    allowed = drafted("violations", judged)
    prepare(allowed)
    assert take.text in read_by(allowed)
    there = stages.rows_there(allowed, run_folder(allowed) / "data")
    assert not stages.withdrawn(allowed, there)
    share(by=owner, story_id=take.brief.story_id, consent="outside", given=False)
    assert stages.withdrawn(allowed, there)
    prepare(allowed)
    assert take.text not in read_by(allowed), "a stage that goes on later is without it from its first moment"

    settings.TEACHER_OUTSIDE = False
    inside = drafted("violations", judged)
    prepare(inside)
    assert take.text in read_by(inside), "the site's own model may read what may be learned from"


def stage_plan_of(run: Run) -> dict[str, Any]:
    planning.make(run.pk)
    run.refresh_from_db()
    return dict(run.plan or {})


@pytest.mark.processes
def test_consent_taken_back_while_a_stage_is_at_work(
    judged: Snapshot,
    take: Take,
    owner: User,
    fake: FakeTeacher,
    keeper: Keeper,
    drafted: Callable[..., Run],
    admin: User,
) -> None:
    """It begins again without the text, which is never asked about again."""
    assert take.brief.story_id
    share(by=owner, story_id=take.brief.story_id, consent="outside", given=True)
    go = threading.Event()

    def answer(body: dict[str, Any]) -> str:
        go.wait(60)
        return json.dumps({"follows": []})

    fake.answer = answer
    run = work(keeper, begun(keeper, drafted("violations", judged), admin), RunState.RUNNING)
    wait(lambda: len(fake.asked) == 4)
    share(by=owner, story_id=take.brief.story_id, consent="outside", given=False)
    wait(lambda: len(fake.asked) == 7, why="it did not begin again with the three texts that are left")
    go.set()
    run = work(keeper, run, RunState.DONE, RunState.FAILED)
    asked_about = [body for body in fake.asked if take.text.split("\n\n")[0] in body["messages"][-1]["content"]]
    assert len(asked_about) == 1


def test_a_mended_passage_is_a_good_text_and_its_violation_stands_in_the_mended_take(
    take: Take,
    owner: User,
    constitution: None,
    site: Path,
    fake: FakeTeacher,
    drafted: Callable[..., Run],
    settings: Settings,
) -> None:
    settings.TEACHER_OUTSIDE = False
    assert take.brief.story_id
    share(by=owner, story_id=take.brief.story_id, consent="training", given=True)
    blocks = take.text.split("\n\n")
    start = len(take.text) - len(blocks[-1])
    passage: dict[str, Any] = {"start": start, "end": len(take.text), "better": "Nobody came down the stairs."}
    snapshot = Snapshot.objects.create(number=1, kind="preference", query={}, described="", state=Making.READY, rows=1)
    SnapshotRow.objects.create(
        snapshot=snapshot, index=0, sha256="0" * 64, brief=take.brief, chosen=take, rejected=take, passage=passage,
        origin={"source": "mended", "principles": [["particular-thing", 1]]},
    )  # fmt: skip
    run = drafted("violations", snapshot)
    prepare(run)
    assert read_by(run) == [passage["better"]]
    folder = private(run_folder(run) / "dataset")
    made: dict[str, Any] = {
        "id": "0", "start": 0, "chosen": [{"role": "assistant", "content": passage["better"]}],
        "rejected": [{"role": "assistant", "content": "No person came to where they were."}],
        "principles": [["particular-thing", 1]], "because": "Nothing particular is there.", "changed": 0.9,
    }  # fmt: skip
    (folder / "train.jsonl").write_text(json.dumps(made) + "\n")
    (folder / "held_out.jsonl").write_text("")
    (folder / "report.json").write_text(json.dumps({"rows": {"train": 1, "held_out": 0}}))
    assert stages.keep(run, folder)[1]["stored"] == 1
    assert stages.keep(run, folder)[1]["stored"] == 0, "done again it is the same"
    found = Violation.objects.select_related("take").get()
    assert found.take.text == "\n\n".join([*blocks[:-1], passage["better"]])
    assert found.good == passage["better"]


def test_two_stages_at_once_and_no_gpu(
    here: Machine, stories: Dataset, constitution: None, fake: FakeTeacher, drafted: Callable[..., Run], admin: User
) -> None:
    runs = [drafted("violations", stories) for _ in range(3)]
    for run in runs:
        Run.objects.filter(pk=run.pk).update(state=RunState.QUEUED, queued=run.created, plan={})
    claimed = [claim.claim(here) for _ in range(3)]
    assert [one.pk if one else None for one in claimed] == [runs[0].pk, runs[1].pk, None]
    assert not here.gpus.exclude(run=None).exists()


def test_only_a_stage_has_the_teachers_key(settings: Settings, tmp_path: Path) -> None:
    settings.TEACHER_KEY = "a secret"
    assert "a secret" not in command.environment(tmp_path, None).values()
    assert stages.key() == {"TEACHER_KEY": "a secret"}


def test_a_stage_knows_whether_its_teacher_is_outside(
    stories: Dataset,
    constitution: None,
    site: Path,
    fake: FakeTeacher,
    drafted: Callable[..., Run],
    settings: Settings,
) -> None:
    run = drafted("violations", stories)
    for outside in (True, False):
        settings.TEACHER_OUTSIDE = outside
        assert stages.reads(run, private(site / "material"))["teacher"]["inside"] is not outside


def test_a_stage_knows_the_proxies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "proxy.example")
        assert command.environment(tmp_path, None)[name] == "proxy.example"


def test_a_run_knows_how_torch_allocates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    assert command.environment(tmp_path, [0])["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"


def test_without_a_gpu_a_run_has_a_heap_that_does_not_break(tmp_path: Path) -> None:
    assert command.environment(tmp_path, None).items() >= UNBROKEN.items()
    assert not command.environment(tmp_path, [0]).keys() & UNBROKEN.keys()


def test_without_a_teacher(
    stories: Dataset, constitution: None, site: Path, drafted: Callable[..., Run], settings: Settings
) -> None:
    settings.TEACHER_URL = ""
    with pytest.raises(MendableError, match="TEACHER_URL"):
        prepare(drafted("violations", stories))
