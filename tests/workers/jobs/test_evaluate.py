"""The task that makes a report, with a FakeServer in place of vLLM: its requests, their number, and the handling of failures."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from tests.servers import ROOT
from tests.workers.jobs.fake_server import FakeServer
from tests.workers.jobs.site import snapshot_of, wait
from training.common.records import Figure, VersionReport
from training.common.sampling import Sampling
from training.evaluate import served
from training.evaluate.version import assignments
from workers.folders import datasets, private
from workers.jobs import evaluate as task
from workers.jobs.evaluate import due, evaluate, mark_sent
from workers.lease import claim
from writer.accounts.models import User
from writer.editorial.messages import row_digest
from writer.editorial.models import Making, Snapshot, SnapshotKind, SnapshotRow
from writer.editorial.operations.freeze import brief_of, take_of
from writer.stories.models import ModelVersion
from writer.studio.held_out import is_held_out
from writer.studio.models import (
    Dataset,
    DatasetKind,
    Evaluation,
    EvaluationState,
    Run,
    RunState,
    Sample,
    Serving,
    ServingState,
)

pytestmark = pytest.mark.django_db(transaction=True)
Settings = Any
STORIES = 6
"""One a bucket."""


@pytest.fixture
def server(model: ModelVersion, settings: Settings, tmp_path: Path) -> Iterator[FakeServer]:
    """It serves the version in service, from the site's own address."""
    made = FakeServer(model.served_name)
    settings.MODEL_SERVER_URL, settings.MODEL_SERVER_KEY, settings.VAR = made.url, "", tmp_path
    Serving.objects.create(version=model, state=ServingState.READY)
    yield made
    made.stop()


@pytest.fixture
def make_version(model: ModelVersion, server: FakeServer) -> Callable[..., ModelVersion]:
    """Versions that are loaded, each made by a run."""

    def make(name: str, parent: ModelVersion = model, **learned: Any) -> ModelVersion:
        version = ModelVersion.objects.create(name=name, served_name=name, tokenizer=model.tokenizer, parent=parent)
        if learned:
            Run.objects.create(
                recipe="dpo", settings={}, base=parent, version=version, state=RunState.DONE, finished=timezone.now(),
                **learned,
            )  # fmt: skip
        Serving.objects.create(version=version, state=ServingState.READY, adapter=True)
        server.served.add(name)
        return version

    return make


@pytest.fixture
def candidate(make_version: Callable[..., ModelVersion]) -> ModelVersion:
    return make_version("candidate", snapshot=snapshot_of(40))


@pytest.fixture
def asked(candidate: ModelVersion, model: ModelVersion) -> Evaluation:
    return Evaluation.objects.create(version=candidate, against=model, each=1)


def figures(evaluation: Evaluation) -> dict[str, Figure]:
    evaluation.refresh_from_db()
    assert evaluation.state == EvaluationState.READY, evaluation.problem
    return {figure.name: figure for figure in VersionReport.model_validate(evaluation.report).figures}


def in_a_thread(evaluation: Evaluation) -> None:
    try:
        evaluate(evaluation.pk)
    finally:
        connection.close()


def test_a_report_is_made(candidate: ModelVersion, model: ModelVersion, server: FakeServer) -> None:
    server.share["candidate"] = 0.5
    asked = Evaluation.objects.create(version=candidate, against=model, each=2)
    assert due() == [asked.pk]
    evaluate(asked.pk)
    found = figures(asked)
    assert found["words_ratio"].own is not None
    assert found["words_ratio"].own.value == pytest.approx(0.5, abs=0.01)
    assert found["words_ratio"].beside is not None
    assert found["words_ratio"].beside.value == 1
    assert found["words_error"].worse
    assert found["prefers"].own is not None
    assert found["moved"].own is not None, "its parent is the version in service, which scores the same pairs"
    assert found["overlap"].own is not None
    assert found["overlap"].own.value == 0
    report = VersionReport.model_validate(asked.report)
    assert (report.stories, report.context) == (12, 2048)
    for row in report.buckets:
        assert row.interval is not None
        assert row.beside_interval is not None
        assert (row.interval.low or 0) <= (row.ratio or 0) <= (row.interval.high or 0)
    assert server.asked == {"candidate": 12, model.served_name: 12}
    assert Sample.objects.filter(evaluation=asked).count() == 24
    assert due() == []


def test_a_version_of_a_recipe_that_is_no_longer_installed(candidate: ModelVersion, model: ModelVersion) -> None:
    Run.objects.filter(version=candidate).update(recipe="toy")
    asked = Evaluation.objects.create(version=candidate, against=model, each=1)
    evaluate(asked.pk)
    assert figures(asked)["overlap"].own is not None


def test_threads_leave_no_connection_behind(asked: Evaluation, server: FakeServer) -> None:
    """The pool has sixteen, and a worker makes more reports than that."""
    before = in_use()
    evaluate(asked.pk)
    assert in_use() <= before


def in_use() -> int:
    stats = connection.pool.get_stats()  # type: ignore[attr-defined]
    return int(stats["pool_size"] - stats["pool_available"])


def test_one_story_a_bucket_has_no_interval(asked: Evaluation) -> None:
    evaluate(asked.pk)
    figures(asked)
    assert [row["interval"] for row in asked.report["buckets"]] == [None] * STORIES  # type: ignore[index]


@pytest.mark.processes
def test_a_task_that_was_killed(
    asked: Evaluation, server: FakeServer, process_env: dict[str, str], tmp_path: Path
) -> None:
    """The keeper finds it when its lease is over, and only the stories that are not there are written."""
    server.most = 4
    code = f"import django; django.setup(); from workers.jobs.evaluate import evaluate; evaluate({asked.pk})"
    env = process_env | {"MODEL_SERVER_URL": server.url, "VAR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env)
    try:
        wait(lambda: Sample.objects.filter(evaluation=asked).count() == 4, 60)
    finally:
        process.kill()
        process.wait(10)
    server.go.set()
    server.asked.clear()

    assert due() == [], "its lease is not over"
    Evaluation.objects.filter(pk=asked.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert due() == [asked.pk]
    mark_sent(asked.pk)
    assert due() == [], "the message is on its way"
    evaluate(asked.pk)
    assert figures(asked)["words_ratio"].own is not None
    assert asked.attempt == 2
    assert server.asked.total() == 2 * STORIES - 4


def test_the_version_in_service_writes_once(
    asked: Evaluation, make_version: Callable[..., ModelVersion], model: ModelVersion, server: FakeServer
) -> None:
    evaluate(asked.pk)
    second = make_version("second")
    later = Evaluation.objects.create(version=second, against=model, each=1)
    evaluate(later.pk)
    assert figures(later)["words_ratio"].beside is not None
    assert server.asked == {"candidate": STORIES, "second": STORIES, model.served_name: STORIES}
    other = Evaluation.objects.create(version=second, against=model, each=1, seed=2)
    evaluate(other.pk)
    assert server.asked[model.served_name] == 2 * STORIES, "other assignments are other stories"


@pytest.mark.parametrize(("limit", "context"), [(1024, 1024), (10_000, 2048)])
def test_the_stories_fit_the_limit_of_the_evaluation(
    limit: int, context: int, candidate: ModelVersion, server: FakeServer
) -> None:
    asked = Evaluation.objects.create(version=candidate, each=1, context=limit)
    evaluate(asked.pk)
    asked.refresh_from_db()
    assert VersionReport.model_validate(asked.report).context == asked.context == context


def test_it_samples_as_the_site_serves_and_says_so(
    asked: Evaluation, model: ModelVersion, make_version: Callable[..., ModelVersion], server: FakeServer
) -> None:
    """An evaluation that was asked for before there was min-p is finished as it began, and its stories are not taken for others."""
    before = [one.model_dump(exclude={"sampling"}) for one in assignments(2048, each=1)]
    version = make_version("second")
    old = Evaluation.objects.create(version=version, against=model, each=1, assignments=before, context=2048)
    evaluate(old.pk)
    said = [(one["temperature"], one["min_p"], one["top_p"]) for one in server.bodies]
    assert said == [(0.8, 0.0, 1.0)] * 2 * STORIES
    old.refresh_from_db()
    assert old.report is not None
    assert old.report["sampling"] == "temperature 0.8"
    server.bodies.clear()
    evaluate(asked.pk)
    asked.refresh_from_db()
    assert len(server.bodies) == 2 * STORIES
    for body in server.bodies:
        assert Sampling().parameters().items() <= body.items()
    assert asked.report is not None
    assert asked.report["sampling"] == str(Sampling())


def test_a_server_that_fails_three_times(asked: Evaluation, server: FakeServer) -> None:
    server.refuses = "CUDA out of memory, it says."
    for attempt in (1, 2, 3):
        asked.refresh_from_db()
        assert asked.state == EvaluationState.WAITING
        evaluate(asked.pk)
        asked.refresh_from_db()
        assert asked.attempt == attempt
        assert "CUDA out of memory" in asked.problem
        assert due() == [], "not at once again"
    assert asked.state == EvaluationState.FAILED
    assert asked.finished is not None
    server.refuses = ""
    evaluate(asked.pk)
    assert not server.asked


def test_a_version_that_is_unloaded_before_it_is_sent_and_after(
    asked: Evaluation, candidate: ModelVersion, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no try, and is sent again as soon as the version is loaded."""

    def unloaded() -> None:
        Serving.objects.filter(version=candidate).delete()

    def claim_too_late(*claimed: Any) -> Any:
        lease = claim(*claimed)
        unloaded()
        return lease

    def loaded_again() -> None:
        asked.refresh_from_db()
        assert (asked.state, asked.attempt, asked.problem) == (EvaluationState.WAITING, 0, "")
        assert due() == []
        Serving.objects.create(version=candidate, state=ServingState.READY, adapter=True)
        assert due() == [asked.pk]

    mark_sent(asked.pk)
    unloaded()
    evaluate(asked.pk)
    loaded_again()
    mark_sent(asked.pk)
    with monkeypatch.context() as patched:
        patched.setattr(task, "claim", claim_too_late)
        evaluate(asked.pk)
    loaded_again()
    evaluate(asked.pk)
    figures(asked)
    assert asked.attempt == 1


def test_a_server_that_serves_nobody(asked: Evaluation, server: FakeServer) -> None:
    server.served.clear()
    evaluate(asked.pk)
    asked.refresh_from_db()
    assert asked.state == EvaluationState.WAITING
    assert "does not serve" in asked.problem


def test_it_hangs_up_in_the_middle(asked: Evaluation, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.hang_ups = 1
    evaluate(asked.pk)
    figures(asked)
    assert server.asked.total() == 2 * STORIES + 1, "one was asked for again"
    monkeypatch.setattr(served, "TRIES", 1)
    server.hang_ups = 1
    again = Evaluation.objects.create(version=asked.version, against=asked.against, each=1, seed=2)
    evaluate(again.pk)
    again.refresh_from_db()
    assert again.state == EvaluationState.WAITING
    assert "does not answer" in again.problem


def test_two_tasks_at_once(asked: Evaluation, server: FakeServer) -> None:
    server.most = 0
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(in_a_thread, asked)
        wait(lambda: server.asked)
        pool.submit(in_a_thread, asked).result(20)
        assert not first.done()
        server.go.set()
        first.result(60)
    figures(asked)
    assert asked.attempt == 1
    assert server.asked.total() == 2 * STORIES


def test_whoever_lost_the_lease_stops(asked: Evaluation, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "RENEW_SECONDS", 0.1)
    server.most = 0
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(in_a_thread, asked)
        wait(lambda: server.asked)
        time.sleep(0.5)
        assert not first.done(), "it has its lease"
        Evaluation.objects.filter(pk=asked.pk).update(attempt=F("attempt") + 1)
        first.result(20)
    asked.refresh_from_db()
    assert (asked.state, asked.attempt, asked.report) == (EvaluationState.RUNNING, 2, None)


def test_delivered_twice(asked: Evaluation, server: FakeServer) -> None:
    evaluate(asked.pk)
    asked.refresh_from_db()
    finished = asked.finished
    mark_sent(asked.pk)
    evaluate(asked.pk)
    asked.refresh_from_db()
    assert (asked.finished, asked.attempt) == (finished, 1)
    assert server.asked.total() == 2 * STORIES


def test_what_no_database_can_hold(asked: Evaluation, server: FakeServer) -> None:
    server.says["candidate"] = "The lamp\0was lit \ud83d at six."
    evaluate(asked.pk)
    figures(asked)
    assert set(Sample.objects.filter(version=asked.version).values_list("text", flat=True)) == {
        "The lamp�was lit � at six."
    }


def titles(held_out: bool) -> set[str]:
    rows = SnapshotRow.objects.select_related("brief")
    return {row.brief.title for row in rows if row.brief and is_held_out(row.brief.sha256) == held_out}


def test_held_out_pairs_only_are_scored(asked: Evaluation, model: ModelVersion, server: FakeServer) -> None:
    assert titles(held_out=True)
    assert titles(held_out=False)
    evaluate(asked.pk)
    figures(asked)
    for name in ("candidate", model.served_name):
        scored = [re.search(r"Story \d+", text) for one, text in server.scored if one == name]
        assert {one and one[0] for one in scored} == titles(held_out=True)
        assert len(scored) == 2 * len(titles(held_out=True)), "chosen and rejected"


def held_out_pair(words: int) -> Snapshot:
    """One pair, of so many short words."""
    snapshot = Snapshot.objects.create(
        number=9, kind=SnapshotKind.PREFERENCE, query={}, described="", state=Making.READY
    )
    briefs = (brief_of(None, title=f"Mill {number}", premise="A miller.", target=250) for number in range(500))
    brief = next(brief for brief in briefs if is_held_out(brief.sha256))
    chosen, rejected = (take_of(brief, " ".join([letter] * words)) for letter in "ab")
    SnapshotRow.objects.create(
        snapshot=snapshot, index=0, sha256=row_digest(brief.sha256, chosen.sha256, rejected.sha256),
        brief=brief, chosen=chosen, rejected=rejected, origin={},
    )  # fmt: skip
    return snapshot


@pytest.mark.parametrize(("words", "scored"), [(1900, 4), (2050, 0)])
def test_a_pair_too_long_for_the_context(
    words: int, scored: int, make_version: Callable[..., ModelVersion], model: ModelVersion, server: FakeServer
) -> None:
    """By tokens and not by letters: in some languages a letter is a token."""
    version = make_version("candidate", snapshot=held_out_pair(words))
    asked = Evaluation.objects.create(version=version, against=model, each=1)
    evaluate(asked.pk)
    assert (figures(asked)["prefers"].own is not None) == bool(scored)
    assert len(server.scored) == scored


def test_without_judgement_there_is_a_report_all_the_same(model: ModelVersion, server: FakeServer) -> None:
    """Of the site's own model, with nothing beside it."""
    asked = Evaluation.objects.create(version=model, each=1)
    evaluate(asked.pk)
    found = figures(asked)
    assert "no held-out pairs" in found["prefers"].note
    assert "does not have" in found["overlap"].note
    assert found["words_ratio"].beside is None


@pytest.mark.parametrize("source", ["its own", "its parent's", "a held-out row", "a held-out file"])
def test_overlap_with_what_was_learned(
    source: str, make_version: Callable[..., ModelVersion], model: ModelVersion, server: FakeServer, admin: User
) -> None:
    folder = private(datasets() / "letters")
    line = '{"messages": [{"role": "user", "content": "Write."}, {"role": "assistant", "content": "%s"}]}\n'
    letters = {"train": "a b c d e f g h i j k l m n o p", "held_out": "p o n m l k j i h g f e d c b a"}
    for name, text in letters.items():
        (folder / f"{name}.jsonl").write_text(line % text)
    dataset = Dataset.objects.create(name="Letters", kind=DatasetKind.CONVERSATIONS, folder="letters", by=admin)
    parent = make_version("parent", snapshot=snapshot_of(40))
    version = make_version("candidate", parent, dataset=dataset)
    Run.objects.filter(version=version).update(recipe="sft")
    rows = SnapshotRow.objects.select_related("brief", "chosen")
    chosen = {is_held_out(row.brief.sha256): row.chosen.text for row in rows if row.brief and row.chosen}
    said = {
        "its own": letters["train"],
        "its parent's": chosen[False],
        "a held-out row": chosen[True],
        "a held-out file": letters["held_out"],
    }
    server.says["candidate"] = said[source]
    asked = Evaluation.objects.create(version=version, against=model, each=1)
    evaluate(asked.pk)
    overlap = figures(asked)["overlap"]
    assert overlap.own is not None
    assert overlap.own.value == (1.0 if source.startswith("its") else 0.0)
    assert overlap.beside is None, "nobody knows what the site's own model learned"


@pytest.mark.parametrize("name", ["candidate", "demo model"])
def test_nothing_is_begun_before_all_are_loaded(asked: Evaluation, server: FakeServer, name: str) -> None:
    Serving.objects.filter(version__name=name).update(state=ServingState.LOADING)
    assert due() == []
    evaluate(asked.pk)
    asked.refresh_from_db()
    assert (asked.state, asked.attempt, asked.lease_until) == (EvaluationState.WAITING, 0, None)
    assert not server.asked
    Serving.objects.update(state=ServingState.READY)
    assert due() == [asked.pk]
