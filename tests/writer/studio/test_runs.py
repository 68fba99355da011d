"""Runs as rows: requested once, however often one clicks, started after the plan, stopped, resumed, cloned."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from writer.accounts.models import AuditEvent, User
from writer.editorial.models import Making, Snapshot, SnapshotKind
from writer.refusals import Missing, NotNow, Refused, Unavailable
from writer.stories.models import ModelVersion
from writer.studio.forms import form_of
from writer.studio.models import Dataset, DatasetKind, Gpu, Machine, Run, RunState
from writer.studio.operations.ask_run import MOST_DRAFTS, draft_run, resume_run, retrain, start_run, stop_run
from writer.studio.operations.retire import retire
from writer.studio.ready import ready_to_start

pytestmark = pytest.mark.django_db
PLAN = {"rows": 10, "steps": 4, "notes": []}


@pytest.fixture
def snapshot() -> Snapshot:
    return Snapshot.objects.create(
        number=1, kind=SnapshotKind.PREFERENCE, state=Making.READY, rows=10, query={}, described="made up"
    )


@pytest.fixture
def typed() -> dict[str, str]:
    return {one.name: one.shown for one in form_of("dpo").fields if one.shown}


@pytest.fixture
def draft(model: ModelVersion, snapshot: Snapshot, typed: dict[str, str], admin: User) -> Callable[..., Run]:
    def make(**given: Any) -> Run:
        fields: dict[str, Any] = {
            "base": str(model.pk),
            "data": f"snapshot:{snapshot.pk}",
            "typed": typed,
            "recipe": "dpo",
            "by": admin,
        }
        return draft_run(**(fields | given))

    return make


@pytest.fixture
def books() -> list[Dataset]:
    return [
        Dataset.objects.create(name=name, kind=DatasetKind.TEXTS, folder=name, rows=10) for name in ("Books", "Letters")
    ]


@pytest.fixture
def pretraining(draft: Callable[..., Run], books: list[Dataset]) -> Callable[..., Run]:
    typed = {one.name: one.shown for one in form_of("pretrain").fields if one.shown}

    def make(sources: dict[str, str]) -> Run:
        return draft(recipe="pretrain", typed=typed, data=f"dataset:{books[0].pk}", sources=sources)

    return make


def test_data_sets_are_mixed_by_weight(pretraining: Callable[..., Run], books: list[Dataset]) -> None:
    first, second = (f"dataset:{one.pk}" for one in books)
    assert pretraining({first: " 0.5 ", second: "3"}).settings["sources"] == {first: 0.5, second: 3.0}
    assert pretraining({first: "", second: "1,000"}).settings["sources"] == {second: 1000.0}
    assert pretraining({first: "1", second: " "}).settings["sources"] == {}  # as without any


@pytest.mark.parametrize("weight", ["0", "-1", "1001", "much", "nan", "inf", "1e-400", "0,5"])
def test_a_weight_is_a_number(weight: str, pretraining: Callable[..., Run], books: list[Dataset]) -> None:
    with pytest.raises(Refused, match=r"^Enter a number") as refused:
        pretraining({f"dataset:{books[1].pk}": weight})
    assert refused.value.field == f"sources.dataset:{books[1].pk}"


@pytest.mark.parametrize("entry", ["dataset:999", "snapshot:1", "x", "dataset:1; rm"])
def test_only_data_sets_that_it_reads_are_mixed_in(entry: str, pretraining: Callable[..., Run]) -> None:
    with pytest.raises(Refused, match="cannot be mixed in"):
        pretraining({entry: "1"})


def test_a_recipe_that_mixes_nothing_reads_no_weights(draft: Callable[..., Run], books: list[Dataset]) -> None:
    assert "sources" not in draft(sources={f"dataset:{books[0].pk}": "2"}).settings


@pytest.fixture
def planned(draft: Callable[..., Run]) -> Run:
    machine = Machine.objects.create(name="here", seen=timezone.now())
    Gpu.objects.create(machine=machine, index=0, name="processor", memory=0)
    run = draft()
    Run.objects.filter(pk=run.pk).update(plan=PLAN)
    run.refresh_from_db()
    return run


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"base": "99"}, "base"), ({"base": "1; rm"}, "base"), ({"base": "9" * 20}, "base"), ({"data": "snapshot:99"}, "data"),
        ({"data": "dataset:/etc"}, "data"), ({"data": ""}, "data"), ({"gpus": "0"}, "gpus"), ({"gpus": "65"}, "gpus"),
        ({"nodes": "0"}, "nodes"), ({"nodes": "65"}, "nodes"), ({"nodes": "two"}, "nodes"), ({"nodes": "2"}, "learner.zero_stage"),
        ({"gpus": "²"}, "gpus"), ({"gpus": "2"}, "learner.zero_stage"), ({"note": "x" * 501}, "note"),
    ],
)  # fmt: skip
def test_what_is_no_entry_is_refused(draft: Callable[..., Run], given: dict[str, str], field: str) -> None:
    with pytest.raises(Refused) as refusal:
        draft(**given)
    assert refusal.value.field == field
    assert not Run.objects.exists()


def test_submitted_twice_it_is_one_run(draft: Callable[..., Run], transactional_db: None) -> None:
    def submit(_: int) -> int:
        try:
            return int(draft(key="once").pk)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(submit, range(8)))) == 1
    assert AuditEvent.objects.filter(act="run.ask").count() == 1


def test_retraining_clicked_twice_is_one_run_and_one_snapshot(
    model: ModelVersion, admin: User, transactional_db: None
) -> None:
    def click(_: int) -> int:
        try:
            return int(retrain(by=admin, key="once").pk)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(click, range(8)))) == 1
    run = Run.objects.select_related("snapshot").get()
    assert run.starts_itself
    assert run.base == model
    assert run.snapshot == Snapshot.objects.get()
    assert Snapshot.objects.get().query["least_votes"] == 1


def test_a_site_without_a_version_in_service_says_so(admin: User) -> None:
    with pytest.raises(Unavailable, match="No model is in service"):
        retrain(by=admin)


def test_there_is_no_button_before_there_is_a_plan(draft: Callable[..., Run], admin: User) -> None:
    run = draft()
    with pytest.raises(NotNow, match="being planned"):
        start_run(by=admin, run_id=run.pk)
    Run.objects.filter(pk=run.pk).update(plan=PLAN | {"problem": "There is no room on the disk."})
    with pytest.raises(NotNow, match="no room"):
        start_run(by=admin, run_id=run.pk)
    Run.objects.filter(pk=run.pk).update(plan=PLAN)
    with pytest.raises(NotNow, match="GPU worker"):
        start_run(by=admin, run_id=run.pk)


def test_two_admins_start_it_at_once(
    planned: Run, admin: User, make_editor: Callable[[], User], transactional_db: None
) -> None:
    people = [admin, make_editor()]

    def start(number: int) -> str:
        try:
            start_run(by=people[number], run_id=planned.pk)
        except NotNow as refusal:
            return refusal.detail
        finally:
            connection.close()
        return "started"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(start, range(2))) == ["This run has been started already.", "started"]
    assert list(ready_to_start()) == [planned]


def test_from_the_button_to_the_end(planned: Run, admin: User) -> None:
    start_run(by=admin, run_id=planned.pk)
    stop_run(by=admin, run_id=planned.pk)
    planned.refresh_from_db()
    assert planned.state == RunState.STOPPED, "what waits needs nobody to stop it"
    with pytest.raises(NotNow, match="ended already"):
        stop_run(by=admin, run_id=planned.pk)
    resume_run(by=admin, run_id=planned.pk)
    Run.objects.filter(pk=planned.pk).update(
        state=RunState.RUNNING, machine=Machine.objects.get(), lease_until=timezone.now()
    )
    with pytest.raises(NotNow, match="Only a run"):
        resume_run(by=admin, run_id=planned.pk)
    stop_run(by=admin, run_id=planned.pk)
    stop_run(by=admin, run_id=planned.pk, at_once=True)
    planned.refresh_from_db()
    assert (planned.state, planned.wish) == (RunState.RUNNING, "kill")
    Run.objects.filter(pk=planned.pk).update(state=RunState.FAILED, forgotten=True, finished=timezone.now())
    with pytest.raises(NotNow, match="have been deleted"):
        resume_run(by=admin, run_id=planned.pk)
    acts = AuditEvent.objects.filter(act__startswith="run.").order_by("pk").values_list("act", flat=True)
    assert list(acts) == ["run.ask", "run.start", "run.stop", "run.resume", "run.stop", "run.kill"]
    with pytest.raises(Missing):
        stop_run(by=admin, run_id=99)


def test_a_run_waits_for_its_snapshot(planned: Run, admin: User) -> None:
    start_run(by=admin, run_id=planned.pk)
    unmade = Snapshot.objects.create(number=2, kind=SnapshotKind.PREFERENCE, query={}, described="not made yet")
    Run.objects.filter(pk=planned.pk).update(snapshot=unmade)
    assert not ready_to_start().exists()


def test_drafts_are_bounded(draft: Callable[..., Run]) -> None:
    for _ in range(MOST_DRAFTS):
        draft()
    with pytest.raises(NotNow, match="have not been started"):
        draft()


def test_a_clone_begins_with_what_was_set(
    draft: Callable[..., Run], typed: dict[str, str], admin: User, sign_in: Callable[..., Client]
) -> None:
    run = draft(typed=typed | {"beta": "0.25", "learner.learning_rate": "1.2345678e-6"}, note="The first try")
    page = sign_in(admin).get(f"/studio/runs/new/dpo?clone={run.pk}")
    shown = {one.name: text for one, text, _ in page.context["form"].rows}
    assert (shown["beta"], shown["learner.learning_rate"]) == ("0.25", "1.2345678e-06")
    assert page.context["given"]["data"] == f"snapshot:{run.snapshot_id}"
    assert page.context["given"]["note"] == "The first try"


def test_a_run_on_several_machines(
    draft: Callable[..., Run], typed: dict[str, str], admin: User, sign_in: Callable[..., Client]
) -> None:
    run = draft(typed=typed | {"learner.zero_stage": "2"}, nodes="2", gpus="4")
    assert (run.nodes, run.gpus, run.all_gpus) == (2, 4, 8)
    browser = sign_in(admin)
    form = browser.get(f"/studio/runs/new/dpo?clone={run.pk}")
    assert (form.context["given"]["nodes"], form.context["given"]["gpus"]) == ("2", "4")
    assert "Not yet run on GPUs" in form.content.decode()
    machine = Machine.objects.create(name="left", seen=timezone.now())
    Run.objects.filter(pk=run.pk).update(machine=machine, rendezvous={"machines": ["left", "right"]}, plan=PLAN)
    page = browser.get(f"/studio/runs/{run.pk}").content.decode()
    assert "on left, right" in page
    assert "2 machines, 4 GPUs each" in page


def test_the_page_says_what_is_otherwise_than_in_the_last_good_run(
    draft: Callable[..., Run], typed: dict[str, str], admin: User, sign_in: Callable[..., Client]
) -> None:
    good = draft()
    Run.objects.filter(pk=good.pk).update(state=RunState.DONE, finished=timezone.now(), plan=PLAN)
    now = draft(typed=typed | {"beta": "0.3", "learner.learning_rate": "1e-6"})
    page = sign_in(admin).get(f"/studio/runs/{now.pk}")
    assert [name for name, _, _ in page.context["changed"]] == ["beta", "learner.learning_rate"]
    assert b"Changes since run" in page.content


def test_events_come_in_order_from_where_one_has_read(
    draft: Callable[..., Run], admin: User, sign_in: Callable[..., Client]
) -> None:
    run = draft()
    for seq in (1, 2, 3):
        run.events.create(seq=seq, kind="log", time=timezone.now(), body={"text": f"line {seq}"})
    client = sign_in(admin)
    told = client.get(f"/studio/runs/{run.pk}/events?after=1").json()
    assert [(one["seq"], one["text"]) for one in told["events"]] == [(2, "line 2"), (3, "line 3")]
    assert told["run"]["state"] == RunState.DRAFT
    for nonsense in ("-1", "x", "1e3", "9" * 12, "²"):
        assert client.get(f"/studio/runs/{run.pk}/events?after={nonsense}").status_code == 400


@pytest.fixture
def conversations() -> Dataset:
    return Dataset.objects.create(name="Requests", kind=DatasetKind.CONVERSATIONS, folder="requests", rows=10)


@pytest.fixture
def grpo(draft: Callable[..., Run], conversations: Dataset) -> Callable[..., Run]:
    def make(*, gpus: str = "1", reward_model: str = "", **typed: str) -> Run:
        usual = {one.name: one.shown for one in form_of("grpo").fields if one.shown}
        data = f"dataset:{conversations.pk}"
        return draft(recipe="grpo", data=data, typed=usual | typed, gpus=gpus, reward_model=reward_model)

    return make


def reward_model(number: int, **given: Any) -> ModelVersion:
    return ModelVersion.objects.create(
        name=f"taste {number}",
        served_name=f"taste-{number}",
        tokenizer="-",
        writes=False,
        sha256=str(number) * 64,
        **given,
    )


def test_a_preference_is_that_of_the_newest_reward_model_or_of_the_chosen_one(grpo: Callable[..., Run]) -> None:
    weight = {"rewards.weights.preference": "1"}
    with pytest.raises(Refused, match="no reward model yet") as refusal:
        grpo(**weight)
    assert refusal.value.field == "rewards.weights.preference"
    first, second = reward_model(1), reward_model(2)
    reward_model(3, retired=timezone.now())
    assert grpo(**weight).reward_model == second
    assert grpo(reward_model=str(first.pk), **weight).reward_model == first
    assert grpo(reward_model=str(first.pk)).reward_model is None, "nothing is asked of it"
    for odd in ("999", "; rm", str(ModelVersion.objects.get(writes=True).pk)):
        with pytest.raises(Refused) as refusal:
            grpo(reward_model=odd, **weight)
        assert refusal.value.field == "reward_model"


def test_a_rollout_server_has_no_more_gpus_than_the_run(grpo: Callable[..., Run]) -> None:
    typed = {"rollouts.tensor_parallel": "2", "learner.zero_stage": "3"}
    with pytest.raises(Refused) as refusal:
        grpo(**typed)
    assert refusal.value.field == "rollouts.tensor_parallel"
    assert grpo(gpus="2", **typed).gpus == 2


def test_a_reward_model_that_a_run_needs_is_kept(grpo: Callable[..., Run], admin: User) -> None:
    version = reward_model(1)
    run = grpo(**{"rewards.weights.preference": "1"})
    with pytest.raises(NotNow, match="uses it as a reward model"):
        retire(by=admin, version_id=version.pk)
    stop_run(by=admin, run_id=run.pk)
    assert retire(by=admin, version_id=version.pk).retired
