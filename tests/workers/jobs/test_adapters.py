"""A run from a version with an adapter: planned, trained and registered, continuing the adapter, or from the merged weights."""

from __future__ import annotations

import json
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now

from tests.workers.jobs.site import snapshot_of
from tests.workers.serving.adapted import LORA, adapted
from training.common.manifest import make_manifest, sha256_of
from training.config.adapter import WEIGHTS
from training.recipes.dpo.loop import dpo
from training.recipes.registry import read_run
from workers.folders import model_path, run_folder, version_folder, weights_of
from workers.jobs.runs import node, planning
from workers.jobs.runs.material import prepare
from workers.jobs.runs.results import register
from workers.serving.keeper import _as_adapter
from writer.accounts.models import User
from writer.editorial.models import Snapshot
from writer.stories.models import ModelVersion
from writer.studio.adapters import adapted_version
from writer.studio.defaults import defaults_of
from writer.studio.models import Machine, Run, RunState

pytestmark = pytest.mark.django_db


@pytest.fixture
def snapshot(db: None) -> Snapshot:
    return snapshot_of(24)


@pytest.fixture
def first(base: ModelVersion, site: Path, snapshot: Snapshot) -> ModelVersion:
    """A version that a run with adapters made from the site's own model."""
    run = Run.objects.create(recipe="dpo", settings=defaults_of("dpo", base), base=base, snapshot=snapshot)
    run.settings["learner"]["lora"] = LORA.model_dump()
    folder = adapted(run_folder(run), base=model_path(base))
    manifest = make_manifest(folder, ["model", "adapter"])
    version = ModelVersion.objects.create(
        name="tiny, dpo 1", served_name="tiny-1", tokenizer=str(folder / "model"), parent=base, folder=f"runs/{run.pk}",
        manifest=manifest, sha256=sha256_of(manifest),
    )  # fmt: skip
    Run.objects.filter(pk=run.pk).update(settings=run.settings, version=version, state="done", finished=Now())
    return version


def drafted(base: ModelVersion, snapshot: Snapshot, by: User, **changes: Any) -> Run:
    values = defaults_of("dpo", base) | {"steps": 2, "batch": 2, "context": 256} | changes
    values["learner"] |= {"precision": "float32", "threads": 1, "learning_rate": 1e-3}
    return Run.objects.create(recipe="dpo", settings=values, base=base, snapshot=snapshot, by=by)


def adapter_of(version: ModelVersion) -> bytes:
    return (version_folder(version) / "adapter" / WEIGHTS).read_bytes()


def test_from_an_adapter_to_an_adapter_of_the_same_model(
    first: ModelVersion, base: ModelVersion, snapshot: Snapshot, admin: User, here: Machine
) -> None:
    run = drafted(first, snapshot, admin)
    planning.make(run.pk)
    run.refresh_from_db()
    assert run.plan is not None
    assert "problem" not in run.plan, run.plan
    assert "adapters of rank 8, which the run continues" in run.plan["text"]
    _, settings = read_run(run_folder(run) / "run.json")
    assert (settings.model, settings.adapter) == (model_path(base), version_folder(first) / "adapter")
    assert dpo(settings)  # type: ignore[arg-type]
    Run.objects.filter(pk=run.pk).update(state=RunState.RUNNING, machine=here, lease_until=Now() + timedelta(minutes=1))
    register(run, 0, run_folder(run))
    run.refresh_from_db()
    made = run.version
    assert made is not None
    assert (made.parent, adapted_version(made)) == (first, base)
    assert _as_adapter(made, {base.served_name})
    assert adapter_of(made) != adapter_of(first)


def test_merged_it_begins_from_whole_weights(
    first: ModelVersion, base: ModelVersion, snapshot: Snapshot, admin: User
) -> None:
    run = drafted(first, snapshot, admin, merge_adapter=True)
    values = json.loads(prepare(run).read_text())
    assert (values["model"], values["adapter"]) == (str(version_folder(first) / "model"), None)
    earlier = {name: value for name, value in run.settings.items() if name != "merge_adapter"}
    run.settings = earlier  # of a run that an earlier release began, and that resumes
    assert weights_of(run) == {"model": version_folder(first) / "model"}


def test_another_rank_is_a_problem_of_the_plan(first: ModelVersion, snapshot: Snapshot, admin: User) -> None:
    run = drafted(first, snapshot, admin)
    run.settings["learner"]["lora"]["rank"] = 16
    run.save()
    planning.make(run.pk)
    run.refresh_from_db()
    assert run.plan is not None
    assert "has rank 8, and learner.lora.rank is 16" in run.plan["problem"]


def test_the_speed_is_known_from_runs_on_the_same_model(
    first: ModelVersion, base: ModelVersion, snapshot: Snapshot, admin: User
) -> None:
    """Each retraining begins from another version, and no run was ever made from the newest."""
    before = Run.objects.get(version=first)
    before.events.create(seq=1, kind="metrics", time=Now(), body={"values": {"tokens_per_second": 50.0}})
    run = drafted(first, snapshot, admin)
    planning.make(run.pk)
    run.refresh_from_db()
    assert run.plan is not None
    assert run.plan["hours_from"] == f"by the speed of run {before.pk}"


@pytest.mark.parametrize("missing", ["model", "adapter"])
def test_a_machine_without_the_weights_does_not_take_part(
    missing: str,
    first: ModelVersion,
    base: ModelVersion,
    snapshot: Snapshot,
    admin: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = drafted(first, snapshot, admin)
    monkeypatch.setattr(node, "_holds", lambda *_: True)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    part = node.Node(run.pk)
    assert part._problem(run, "id") == ""
    gone = weights_of(run)[missing]
    gone.rename(gone.with_name("elsewhere"))
    assert f"has no model at {gone}" in part._problem(run, "id")
