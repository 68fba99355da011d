"""Runs: requested, planned by a worker, and started by a person who has seen the plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from training.config.recipe import MOST_WEIGHT
from training.rewards.registry import REWARDS
from writer.accounts.audit import record
from writer.accounts.models import User
from writer.editorial.models import Making, Snapshot, SnapshotKind
from writer.editorial.operations.make_snapshot import ask_snapshot
from writer.editorial.snapshots.query import SnapshotQuery
from writer.refusals import Missing, NotNow, Refused
from writer.stories.checks import checked_key
from writer.stories.models import ModelVersion
from writer.stories.operations.deploy import in_service
from writer.stories.text import checked_text
from writer.studio.adapters import adapted_version, lora_of
from writer.studio.defaults import defaults_of
from writer.studio.forms import number_typed, read
from writer.studio.models import ENDED, Dataset, DatasetKind, Gpu, Run, RunState
from writer.studio.models.runs import MOST_GPUS, MOST_NODES
from writer.studio.registry import DECLARED, is_stage, kinds_read, mixes_data
from writer.studio.wake import call_keepers

MOST_DRAFTS = 20


def bases() -> QuerySet[ModelVersion]:
    """Versions that a run may start from: those with weights on this site."""
    return ModelVersion.objects.filter(writes=True, retired=None).order_by("name")


def data_for(recipe: str) -> list[tuple[str, str]]:
    """The data that the recipe can read, as (entry, label); entries are such as "snapshot:4" and "dataset:2"."""
    kinds = kinds_read(recipe)
    found = [(f"dataset:{one.pk}", f"{one.name}: {one.rows:,} rows") for one in Dataset.objects.filter(kind__in=kinds)]
    if DECLARED[recipe].from_snapshots:
        snapshots = Snapshot.objects.filter(kind=SnapshotKind.PREFERENCE, state=Making.READY)[:100]
        found = [(f"snapshot:{one.pk}", f"Snapshot {one.number}: {one.rows:,} rows") for one in snapshots] + found
    return found


def corpora_for(recipe: str) -> list[tuple[str, str]]:
    """Data sets of texts whose passages a stage may show, as (id, name)."""
    if not DECLARED[recipe].has_group("corpus"):
        return []
    return [(str(one.pk), one.name) for one in Dataset.objects.filter(kind=DatasetKind.TEXTS)]


def reward_models() -> QuerySet[ModelVersion]:
    """Reward models, the newest first."""
    return ModelVersion.objects.filter(writes=False, retired=None).order_by("-pk")


def draft_run(
    *,
    by: User,
    recipe: str,
    typed: dict[str, str],
    data: str,
    base: str = "",
    corpus: str = "",
    reward_model: str = "",
    gpus: str = "1",
    nodes: str = "1",
    note: str = "",
    key: str | None = None,
    cloned_from: int | None = None,
    sources: Mapping[str, str] | None = None,
) -> Run:
    """Make a run for a worker to plan. `sources` are the weights of data sets that are mixed, as typed, by their entries.

    Raises Refused for the first error, with its field; `forms.read` finds all errors.
    """
    form, values = read(recipe, typed)
    if values is None:
        name, problem = next(iter(form.errors.items()))
        raise Refused(problem, field=name)
    fields = _of_stage(recipe, corpus) if is_stage(recipe) else _of_training(values, base, gpus, nodes)
    if DECLARED[recipe].has_group("rewards"):
        fields |= _of_rewards(values, reward_model, fields["gpus"])
    if data not in dict(data_for(recipe)):
        raise Refused(
            "Choose the data that it reads." if is_stage(recipe) else "Choose the training data.", field="data"
        )
    if sources and mixes_data(recipe):
        values["sources"] = _weights(recipe, data, sources)
    kind, _, number = data.partition(":")
    return _draft(
        by=by,
        recipe=recipe,
        settings=values,
        note=checked_text(note, "note", most=500, one_line=True),
        key=key,
        cloned_from_id=cloned_from,
        **{f"{kind}_id": int(number)},
        **fields,
    )


def sources_for(recipe: str) -> list[tuple[str, str]]:
    """The data sets that a run of the recipe may mix with what it learns from."""
    return [one for one in data_for(recipe) if one[0].startswith("dataset:")] if mixes_data(recipe) else []


def _weights(recipe: str, data: str, typed: Mapping[str, str]) -> dict[str, float]:
    """The weights of the data sets that are read, by entry; nothing if only the chosen one is, as it is."""
    able, found = dict(sources_for(recipe)), {}
    for entry, text in typed.items():
        if not text.strip():
            continue
        if entry not in able:
            raise Refused("This data set cannot be mixed in: choose one from the list.", field="data")
        weight = number_typed(text, field=f"sources.{entry}")
        if not 0 < weight <= MOST_WEIGHT:
            raise Refused(f"Enter a number, more than 0 and at most {MOST_WEIGHT:,}.", field=f"sources.{entry}")
        found[entry] = weight
    return {} if found == {data: 1} else found


def _of_training(values: dict[str, Any], base: str, gpus: str, nodes: str) -> dict[str, Any]:
    version = bases().filter(pk=int(base)).first() if base.isdecimal() and len(base) < 10 else None
    if version is None:
        raise Refused("Choose the version to start from.", field="base")
    if not (gpus.isdecimal() and len(gpus) < 4 and 1 <= int(gpus) <= MOST_GPUS):
        raise Refused(f"From 1 to {MOST_GPUS} GPUs.", field="gpus")
    if not (nodes.isdecimal() and len(nodes) < 4 and 1 <= int(nodes) <= MOST_NODES):
        raise Refused(f"From 1 to {MOST_NODES} machines.", field="nodes")
    if int(nodes) > 1 and not values["learner"]["zero_stage"]:
        raise Refused("Several machines need ZeRO stage 1, 2 or 3.", field="learner.zero_stage")
    if int(gpus) > 1 and not values["learner"]["zero_stage"]:
        raise Refused("Several GPUs need ZeRO stage 1, 2 or 3.", field="learner.zero_stage")
    _check_continued(version, values)
    return {"base": version, "gpus": int(gpus), "nodes": int(nodes)}


def _check_continued(version: ModelVersion, values: dict[str, Any]) -> None:
    """Raise Refused if the run would continue the version's adapter and cannot."""
    adapted = None if values["merge_adapter"] else adapted_version(version)
    if adapted is None:
        return
    if adapted.retired is not None:
        raise Refused(
            f"The weights of {adapted}, which the adapter of {version} changes, have been deleted: merge the adapter.",
            field="merge_adapter",
        )
    lora, own = values["learner"]["lora"], lora_of(version)
    if lora is None:
        raise Refused(
            f"The run continues the adapter of {version}: turn LoRA on, or merge the adapter.", field="learner.lora"
        )
    if different := [name for name, value in own.items() if lora[name] != value]:
        raise Refused(
            f"The adapter of {version} has rank {own['rank']} and alpha {own['alpha']}: enter these, or merge the adapter.",
            field=f"learner.lora.{different[0]}",
        )


def _of_rewards(values: dict[str, Any], reward_model: str, gpus: int) -> dict[str, Any]:
    """The chosen reward model, or the newest one, if a reward needs one."""
    if values["rollouts"]["tensor_parallel"] > gpus:
        raise Refused(f"The run has {gpus} GPU{'s' * (gpus > 1)} only.", field="rollouts.tensor_parallel")
    needing = [name for name in values["rewards"]["weights"] if "preference" in REWARDS[name].needs]
    if not needing:
        return {}
    found = reward_models()
    if reward_model:
        found = found.filter(pk=int(reward_model) if reward_model.isdecimal() and len(reward_model) < 10 else 0)
    version = found.first()
    if version is None and reward_model:
        raise Refused("Choose a reward model from the list.", field="reward_model")
    if version is None:
        raise Refused(
            "There is no reward model yet: train one, or leave this reward empty.",
            field=f"rewards.weights.{needing[0]}",
        )
    return {"reward_model": version}


def _of_stage(recipe: str, corpus: str) -> dict[str, Any]:
    """Check the base, corpus and GPUs of a stage. It trains no model, so it has no base and needs no GPU."""
    if not DECLARED[recipe].has_group("corpus"):
        return {"gpus": 0}
    if corpus not in dict(corpora_for(recipe)):
        raise Refused("Choose the texts from which passages are shown.", field="corpus")
    return {"gpus": 0, "corpus_id": int(corpus)}


def retrain(*, by: User, key: str | None = None) -> Run:
    """Retrain with the newest judgements: make a snapshot, run `dpo` on it, and then make the version and its report, automatically.

    The snapshot contains votes, corrected passages, and the violations that editors accepted or corrected.

    It starts from the version in service. If that is an adapter, the run continues it, and the new version is an adapter of the same model.
    """
    with transaction.atomic():
        _one_asking(by)
        if (before := _asked_before(key)) is not None:
            return before
        base = in_service()
        snapshot = ask_snapshot(by=by, query=SnapshotQuery(least_votes=1, violations="accepted"))
        return _draft(
            by=by,
            recipe="dpo",
            settings=defaults_of("dpo", base),
            base=base,
            gpus=1,
            note="Retraining from the newest judgement",
            key=key,
            snapshot_id=snapshot.pk,
            starts_itself=True,
        )


def _draft(*, by: User, key: str | None, **fields: Any) -> Run:
    with transaction.atomic():
        _one_asking(by)
        if (before := _asked_before(key)) is not None:
            return before
        if Run.objects.filter(by=by, state=RunState.DRAFT).count() >= MOST_DRAFTS:
            raise NotNow(
                f"You have {MOST_DRAFTS} runs that have not been started. Start or discard some of them first."
            )
        run = Run.objects.create(by=by, idempotency_key=key, **fields)
        record(
            by,
            "run.ask",
            f"run {run.pk}, {run.recipe}",
            base=run.base.name if run.base else "",
            retraining=run.starts_itself,
        )
        transaction.on_commit(call_keepers)
    return run


def _one_asking(by: User) -> None:
    User.objects.select_for_update(no_key=True).values_list("pk").get(pk=by.pk)


def _asked_before(key: str | None) -> Run | None:
    return None if key is None else Run.objects.filter(idempotency_key=checked_key(key, "key")).first()


def lock_run(run_id: int) -> Run:
    found = Run.objects.select_for_update(of=("self",)).select_related("base", "snapshot").filter(pk=run_id).first()
    if found is None:
        raise Missing
    return found


def start_run(*, by: User, run_id: int) -> Run:
    """Queue a planned run."""
    with transaction.atomic():
        run = lock_run(run_id)
        if run.state != RunState.DRAFT:
            raise NotNow("This run has been started already.")
        if run.plan is None:
            raise NotNow("It is still being planned.")
        if run.plan.get("problem"):
            raise NotNow(run.plan["problem"])
        if not Gpu.objects.exists():
            raise NotNow("No GPU worker is registered. Start one first.")
        queue_run(run)
        record(by, "run.start", f"run {run.pk}, {run.recipe}", settings=run.settings)
    return run


def queue_run(run: Run) -> None:
    run.state, run.queued, run.finished, run.wish, run.problem = RunState.QUEUED, timezone.now(), None, "", ""
    run.failures = 0
    run.save(update_fields=["state", "queued", "finished", "wish", "problem", "failures"])
    transaction.on_commit(call_keepers)


def resume_run(*, by: User, run_id: int) -> Run:
    """Resume a run that stopped or failed from its last complete checkpoint."""
    with transaction.atomic():
        run = lock_run(run_id)
        if run.state not in (RunState.STOPPED, RunState.FAILED):
            raise NotNow("Only a run that was stopped or failed can be resumed.")
        if run.plan is None:
            raise NotNow("It has no plan. Make a new run.")
        if run.forgotten:
            raise NotNow("Its checkpoints have been deleted. Clone the run to start again.")
        queue_run(run)
        record(by, "run.resume", f"run {run.pk}, {run.recipe}")
    return run


def stop_run(*, by: User, run_id: int, at_once: bool = False) -> Run:
    """Ask a running run to save and stop, or to be killed. A waiting one is stopped at once."""
    with transaction.atomic():
        run = lock_run(run_id)
        if run.state in ENDED:
            raise NotNow(f"The run has ended already: {run.get_state_display().lower()}.")
        if run.state == RunState.RUNNING:
            run.wish, run.wished_at = "kill" if at_once else "stop", timezone.now()
            run.save(update_fields=["wish", "wished_at"])
        else:
            run.state, run.finished = RunState.STOPPED, timezone.now()
            run.save(update_fields=["state", "finished"])
        record(by, "run.kill" if at_once else "run.stop", f"run {run.pk}, {run.recipe}", step=run.step)
    return run
