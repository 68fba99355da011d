"""The pages of runs: list, form, dry run and progress; and the list of data sets."""

from __future__ import annotations

import secrets
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from training.config.fields import typed_of
from writer.accounts.http import admins_only, person
from writer.refusals import Refused
from writer.studio.defaults import defaults_of
from writer.studio.forms import Form, form_of, read
from writer.studio.measures import before_and_after, metric_names
from writer.studio.models import ENDED, Dataset, Run, RunEvent, RunState
from writer.studio.operations.ask_run import (
    bases,
    corpora_for,
    data_for,
    draft_run,
    resume_run,
    retrain,
    reward_models,
    sources_for,
    start_run,
    stop_run,
)
from writer.studio.registry import DECLARED, current, is_stage, judges_named, teacher_named

AT_ONCE = 2000
_GIVEN = ("base", "data", "corpus", "reward_model", "nodes", "gpus", "note", "key", "clone")
LISTED = 100


@admins_only
@require_safe
@never_cache
def runs(request: HttpRequest) -> HttpResponse:
    """studio/runs.html with `runs`, and `recipes` and `stages`."""
    found = Run.objects.select_related("base", "by", "snapshot", "dataset", "version", "machine")[:LISTED]
    recipes = [one for name, one in DECLARED.items() if not is_stage(name)]
    stages = [one for name, one in DECLARED.items() if is_stage(name)]
    return render(request, "studio/runs.html", {"runs": found, "recipes": recipes, "stages": stages})


@admins_only
@require_safe
@never_cache
def datasets(request: HttpRequest) -> HttpResponse:
    """studio/datasets.html with `datasets`: what was added, and what stages made."""
    return render(request, "studio/datasets.html", {"datasets": Dataset.objects.select_related("run", "by")})


@admins_only
@never_cache
def run_new(request: HttpRequest, recipe: str) -> HttpResponse:
    """studio/run_new.html with `form`, `bases`, `data` and the input. `?clone=12` copies the settings of that run, `?data=dataset:3` selects that data set."""
    if recipe not in DECLARED:
        raise Http404
    if request.method != "POST":
        return _fresh(request, recipe)
    post = request.POST
    given: dict[str, Any] = {name: post.get(name, "") for name in _GIVEN}
    typed = {name.removeprefix("s."): ", ".join(post.getlist(name)) for name in post if name.startswith("s.")}
    sources = {name.removeprefix("w."): post[name] for name in post if name.startswith("w.")}
    given |= {"sources": sources}
    form, values = read(recipe, typed)
    try:
        if values is None:
            return _form(request, form, given, status=422)
        run = draft_run(
            by=person(request),
            recipe=recipe,
            typed=typed,
            base=given["base"],
            data=given["data"],
            corpus=given["corpus"],
            reward_model=given["reward_model"],
            gpus=given["gpus"] or "1",
            nodes=given["nodes"] or "1",
            note=given["note"],
            key=given["key"] or None,
            sources=sources,
            cloned_from=int(given["clone"]) if given["clone"].isdecimal() and len(given["clone"]) < 9 else None,
        )
    except Refused as refusal:
        form.errors[refusal.field] = refusal.detail
        return _form(request, form, given, status=refusal.status)
    return redirect("run", run.pk)


def _fresh(request: HttpRequest, recipe: str) -> HttpResponse:
    given: dict[str, Any] = {"key": secrets.token_urlsafe(16), "gpus": "1", "nodes": "1"}
    clone = request.GET.get("clone", "")
    if clone.isdecimal() and len(clone) < 9 and (run := Run.objects.filter(pk=int(clone), recipe=recipe).first()):
        data = f"snapshot:{run.snapshot_id}" if run.snapshot_id else f"dataset:{run.dataset_id}"
        given |= {"base": str(run.base_id), "data": data, "corpus": str(run.corpus_id)}
        given |= {"reward_model": str(run.reward_model_id or "")}
        given |= {"gpus": str(run.gpus), "nodes": str(run.nodes), "clone": clone, "note": run.note}
        given |= {"sources": {entry: typed_of(one) for entry, one in run.settings.get("sources", {}).items()}}
        return _form(request, form_of(recipe, run.settings), given)
    base = bases().filter(deployments__state="serving").first() or bases().first()
    given |= {"base": str(base.pk) if base else "", "data": request.GET.get("data", "")}
    return _form(request, form_of(recipe, defaults_of(recipe, base)), given)


def _form(request: HttpRequest, form: Form, given: dict[str, Any], *, status: int = 200) -> HttpResponse:
    kind = DECLARED[form.recipe]
    asks_judges = kind.has_group("rewards")
    context = {
        "form": form,
        "kind": kind,
        "given": given,
        "bases": [(str(one.pk), one.name) for one in bases()],
        "data": data_for(form.recipe),
        "sources": [
            (entry, name, given.get("sources", {}).get(entry, ""), form.errors.get(f"sources.{entry}", ""))
            for entry, name in sources_for(form.recipe)
        ],
        "mixes": any(given.get("sources", {}).values()),
        "shows_passages": kind.has_group("corpus"),
        "corpora": corpora_for(form.recipe),
        "is_stage": is_stage(form.recipe),
        "asks_judges": asks_judges,
        "reward_models": [(str(one.pk), one.name) for one in reward_models()] if asks_judges else [],
        "judges": judges_named() if asks_judges else [],
        "teacher": teacher_named() if kind.has_group("teacher") else "",
        "errors": form.errors,
    }
    return render(request, "studio/run_new.html", context, status=status)


def _run(run_id: int) -> Run:
    found = Run.objects.select_related(
        "base", "by", "snapshot", "dataset", "corpus", "reward_model", "made", "version", "machine"
    )
    run = found.filter(pk=run_id).first()
    if run is None:
        raise Http404
    return run


@admins_only
@require_safe
@never_cache
def run(request: HttpRequest, run_id: int) -> HttpResponse:
    """studio/run.html with `run`, `plan`, `settings`, and `changed` against the last good run, `before`; of GRPO its `changes` from the first step."""
    found = _run(run_id)
    before = (
        Run.objects.filter(recipe=found.recipe, state=RunState.DONE).exclude(pk=found.pk).order_by("-finished").first()
    )
    rewarded = found.recipe in DECLARED and DECLARED[found.recipe].has_group("rewards")
    context = {
        "run": found,
        "is_stage": is_stage(found.recipe),
        "plan": found.plan,
        "before": before,
        "tables": tables_of(found.report or {}),
        "changes": before_and_after(found) if rewarded else [],
        "names": metric_names() if rewarded else {},
        "settings": changes({}, found.settings),
        "changed": changes(current(found.recipe, before.settings), current(found.recipe, found.settings))
        if before
        else [],
        "ended": found.state in ENDED,
        "state": state_of(found),
    }
    return render(request, "studio/run.html", context)


Table = tuple[str, tuple[str, ...], list[tuple[str, tuple[int, ...]]]]
"""The name of a line, the names of its numbers, and the lines."""


def tables_of(report: dict[str, Any]) -> list[Table]:
    """The tables of a stage's report."""
    asked = ("Asked for", "Made")
    found: list[Table] = []
    for part, head, name in (("principles", "Principle", "name"), ("tasks", "Task", "task"), ("tools", "Tool", "tool")):
        lines = [one for one in report.get(part, ()) if one["asked"]]
        found.append((head, asked, [(one[name], (one["asked"], one.get("made", one.get("kept", 0)))) for one in lines]))
    reasons = "Left out, because"
    for part, head in (("given", "Passages that were shown"), ("rejected", reasons), ("dropped", reasons)):
        found.append((head, ("Rows",), [(_words(name), (number,)) for name, number in report.get(part, {}).items()]))
    return [one for one in found if one[2]]


def _words(name: str) -> str:
    return name.replace("_", " ")


def changes(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Settings that differ, as (name, before, after)."""
    found = []
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        if isinstance(was, dict) or isinstance(now, dict):
            found += changes(was or {}, now or {}, f"{prefix}{name}.")
        elif was != now:
            found.append((f"{prefix}{name}", was, now))
    return found


def state_of(run: Run) -> dict[str, Any]:
    """The parts of the page that change."""
    return {
        "state": run.state,
        "said": run.get_state_display(),
        "wish": run.wish,
        "problem": run.problem,
        "step": run.step,
        "steps": run.steps,
        "phase": run.phase,
        "planned": run.plan is not None,
        "last_seq": run.last_seq,
        "version": run.version_id,
        "ended": run.state in ENDED,
    }


@admins_only
@require_safe
@never_cache
def run_events(request: HttpRequest, run_id: int) -> HttpResponse:
    """The events after `?after=`, and the current state, as JSON."""
    after = request.GET.get("after", "0")
    if not (after.isascii() and after.isdigit() and len(after) < 10):
        return JsonResponse({"detail": "after must be the number of the last event received."}, status=400)
    state = state_of(_run(run_id))
    columns = ("seq", "kind", "step", "body", "text")
    found = RunEvent.objects.filter(run=run_id, seq__gt=int(after)).order_by("seq")[:AT_ONCE]
    events = [{name: getattr(one, name) for name in columns} | {"time": one.time.timestamp()} for one in found]
    return JsonResponse({"run": state, "events": events})


@admins_only
@require_POST
def run_act(request: HttpRequest, run_id: int, act: str) -> HttpResponse:
    """Start, stop, kill or resume a run."""
    by = person(request)
    try:
        if act == "start":
            start_run(by=by, run_id=run_id)
        elif act == "resume":
            resume_run(by=by, run_id=run_id)
        elif act in ("stop", "kill"):
            stop_run(by=by, run_id=run_id, at_once=act == "kill")
        else:
            raise Http404
    except Refused as refusal:
        messages.error(request, refusal.detail)
    return redirect("run", run_id)


@admins_only
@require_POST
def run_retrain(request: HttpRequest) -> HttpResponse:
    try:
        asked = retrain(by=person(request), key=request.POST.get("key") or None)
    except Refused as refusal:
        messages.error(request, refusal.detail)
        return redirect("studio")
    return redirect("run", asked.pk)
