"""Runs that continue the adapter of a version, or merge it first: the forms' initial values, what is refused, and whose weights an adapter changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from writer.accounts.models import User
from writer.editorial.models import Making, Snapshot, SnapshotKind
from writer.refusals import NotNow, Refused
from writer.stories.models import Deployment, DeploymentState, ModelVersion
from writer.studio.adapters import adapted_version, continued_version
from writer.studio.defaults import defaults_of
from writer.studio.forms import form_of
from writer.studio.models import Run
from writer.studio.operations.ask_run import draft_run, retrain, stop_run
from writer.studio.operations.deploy import switch
from writer.studio.operations.retire import retire

pytestmark = pytest.mark.django_db
ADAPTER: dict[str, Any] = {"model/model.safetensors": {}, "adapter/adapter_model.safetensors": {}}
LORA = MappingProxyType({"rank": 8, "alpha": 24})
Make = Callable[..., ModelVersion]


@pytest.fixture
def snapshot() -> Snapshot:
    return Snapshot.objects.create(
        number=1, kind=SnapshotKind.PREFERENCE, state=Making.READY, rows=10, query={}, described="made up"
    )


@pytest.fixture
def version(snapshot: Snapshot) -> Make:
    """A function that makes a version from a base by a run with adapters of rank 8 and alpha 24, or by one of all weights (`lora=None`)."""

    def make(base: ModelVersion, lora: Mapping[str, int] | None = LORA, **settings: Any) -> ModelVersion:
        number = Run.objects.count() + 1
        made = ModelVersion.objects.create(
            name=f"version {number}", served_name=f"version-{number}", tokenizer="-", parent=base, folder=f"runs/{number}",
            sha256=str(number) * 64, manifest=ADAPTER if lora else {"model/model.safetensors": {}},
        )  # fmt: skip
        values = defaults_of("dpo", base)
        values["learner"]["lora"] = lora and {"dropout": 0.0} | dict(lora)
        values |= settings
        Run.objects.create(
            recipe="dpo", settings={name: one for name, one in values.items() if one != "left out"}, base=base,
            snapshot=snapshot, version=made, state="done", finished=timezone.now(),
        )  # fmt: skip
        return made

    return make


@pytest.fixture
def draft(snapshot: Snapshot, admin: User) -> Callable[..., Run]:
    def make(base: ModelVersion, **typed: str) -> Run:
        form = form_of("dpo", defaults_of("dpo", base))
        given = {name: text for name, text in form.typed.items() if text} | typed
        return draft_run(by=admin, recipe="dpo", typed=given, data=f"snapshot:{snapshot.pk}", base=str(base.pk))

    return make


def in_service(version: ModelVersion) -> None:
    assert switch(Deployment.objects.create(version=version, kind="promote").pk, proof="words")


def test_whose_weights_an_adapter_changes(model: ModelVersion, version: Make) -> None:
    first = version(model)
    second = version(first)
    third = version(second)
    assert [adapted_version(one) for one in (first, second, third)] == [model] * 3
    merged = version(third, merge_adapter=True)
    assert adapted_version(merged) == third
    assert adapted_version(version(merged)) == third
    whole = version(third, lora=None, merge_adapter=True)
    assert adapted_version(whole) is None
    assert adapted_version(version(whole)) == whole
    assert adapted_version(model) is None
    earlier = version(third, merge_adapter="left out")  # by a run of a release that knew no adapters
    assert adapted_version(earlier) == third


def test_retraining_continues_the_version_in_service(model: ModelVersion, version: Make, admin: User) -> None:
    first = version(model)
    in_service(version(first))
    run = retrain(by=admin)
    assert run.base == Deployment.objects.get(state=DeploymentState.SERVING).version
    assert continued_version(run) == model
    lora = run.settings["learner"]["lora"]
    assert (lora["rank"], lora["alpha"]) == (8, 24)
    in_service(version(first, lora=None, merge_adapter=True))
    run = retrain(by=admin)
    assert run.base == Deployment.objects.get(state=DeploymentState.SERVING).version
    assert continued_version(run) is None


def test_a_form_begins_with_the_version_in_service_and_its_adapter(
    model: ModelVersion, version: Make, admin: User, sign_in: Callable[..., Client]
) -> None:
    first = version(model)
    in_service(first)
    page = sign_in(admin).get("/studio/runs/new/dpo")
    assert page.context["given"]["base"] == str(first.pk)
    shown = {one.name: text for one, text, _ in page.context["form"].rows}
    assert (shown["learner.lora.rank"], shown["learner.lora.alpha"], shown["merge_adapter"]) == ("8", "24", "")
    assert 'name="s.merge_adapter"' in page.content.decode()


def test_a_recipe_that_trains_all_weights_by_default_merges(model: ModelVersion, version: Make) -> None:
    first = version(model)
    assert defaults_of("pretrain", None)["learner"]["lora"] is None
    assert defaults_of("pretrain", first)["merge_adapter"]
    assert not defaults_of("pretrain", model)["merge_adapter"]
    assert not defaults_of("sft", first)["merge_adapter"]


@pytest.mark.parametrize(
    ("typed", "field", "says"),
    [
        ({"learner.lora.rank": "16"}, "learner.lora.rank", "The adapter of version 1 has rank 8 and alpha 24: enter"),
        (
            {"learner.lora.alpha": "32"},
            "learner.lora.alpha",
            "has rank 8 and alpha 24: enter these, or merge the adapter",
        ),
        ({"learner.lora": ""}, "learner.lora", "continues the adapter of version 1: turn LoRA on, or merge"),
    ],
)
def test_another_adapter_than_that_of_the_version_is_refused_unless_it_is_merged(
    typed: dict[str, str], field: str, says: str, model: ModelVersion, version: Make, draft: Callable[..., Run]
) -> None:
    first = version(model)
    assert continued_version(draft(first)) == model
    with pytest.raises(Refused, match=says) as refusal:
        draft(first, **typed)
    assert refusal.value.field == field
    assert continued_version(draft(first, merge_adapter="yes", **typed)) is None
    assert continued_version(draft(model, **typed)) is None, "it begins a new adapter"


def test_the_weights_under_an_adapter_are_kept_while_a_run_needs_them(
    model: ModelVersion, version: Make, draft: Callable[..., Run], admin: User
) -> None:
    whole = version(model, lora=None)
    first = version(whole)
    run = draft(first)
    assert continued_version(run) == whole
    with pytest.raises(NotNow, match="continues an adapter of it"):
        retire(by=admin, version_id=whole.pk)
    stop_run(by=admin, run_id=run.pk)
    retire(by=admin, version_id=whole.pk)
    first.refresh_from_db()
    assert defaults_of("dpo", first)["merge_adapter"]
    with pytest.raises(Refused, match=r"The weights of version 1, .* have been deleted: merge the adapter") as refusal:
        draft(first, merge_adapter="")
    assert refusal.value.field == "merge_adapter"
    draft(first)
