"""The dry run before a run can be started: writes its data and settings, and estimates the resources that it needs."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from training.common.errors import MendableError
from training.config.declarations import Stage
from training.datasets.mixture import repeated
from training.planning.costs import checkpoint_bytes, memory
from training.planning.estimate import make_plan
from training.planning.plan import format_plan
from training.planning.shapes import find_shape, positions
from training.planning.token_counts import count_texts
from training.recipes.registry import RECIPES, read_run
from workers.folders import lines_in, model_path, private, run_folder, size, studio
from workers.jobs.runs import stage_plan
from workers.jobs.runs.material import prepare, sources_of
from writer.editorial.models import Making
from writer.studio.models import Gpu, Machine, Run, RunState
from writer.studio.operations.ask_run import queue_run
from writer.studio.registry import DECLARED, judges_named

CARDS = {"A100": "a100-80", "H100": "h100", "H200": "h200"}
TOKENS_PER_WORD = 1.35
STEPS_WANTED = 25
"""At least so many steps in a run that starts itself: its batch is made smaller for small data."""
DISK_RESERVE = 2 * 10**9
LONGEST = timedelta(minutes=15)
"""After this time another worker plans it."""

log = structlog.get_logger()


def _unplanned() -> QuerySet[Run]:
    """Drafts without a plan that no worker is planning. No join: after waiting for a lock, PostgreSQL checks the row again, but not joined rows."""
    nobody = Q(lease_until=None) | Q(lease_until__lt=timezone.now())
    return Run.objects.filter(nobody, state=RunState.DRAFT, plan__isnull=True)


def waiting() -> list[int]:
    """The drafts to plan: their snapshot is ready, or has failed."""
    ready = Q(snapshot=None) | Q(snapshot__state__in=(Making.READY, Making.FAILED))
    return list(_unplanned().filter(ready).order_by("pk").values_list("pk", flat=True))


def make(run_id: int) -> None:
    """Plan one run, and queue it if it starts itself. If two workers try at once, one of them does it."""
    if run_id not in waiting() or not _unplanned().filter(pk=run_id).update(lease_until=timezone.now() + LONGEST):
        return
    run = Run.objects.select_related("base", "snapshot", "dataset", "corpus", "reward_model").get(pk=run_id)
    try:
        plan = stage_plan.plan(run) if isinstance(DECLARED[run.recipe], Stage) else _plan(run)
    except (MendableError, OSError, ValueError) as error:
        plan = {"problem": str(error)[:1000], "notes": []}
    except DatabaseError:
        raise  # it is planned again
    except Exception:  # a recipe of another package may raise anything
        log.exception("planning_failed", run=run_id)
        plan = {"problem": "An unexpected error occurred while it was planned; see the worker's log.", "notes": []}
    with transaction.atomic():
        found = Run.objects.select_for_update().filter(pk=run_id, state=RunState.DRAFT, plan__isnull=True).first()
        if found is None:
            return  # discarded meanwhile
        found.plan, found.settings, found.lease_until = plan, run.settings, None
        found.steps = plan.get("steps") or 0
        found.save(update_fields=["plan", "steps", "settings", "lease_until"])
        if found.starts_itself and plan.get("problem"):
            found.state, found.problem, found.finished = RunState.FAILED, plan["problem"], timezone.now()
            found.save(update_fields=["state", "problem", "finished"])
        elif found.starts_itself:
            queue_run(found)
    log.info("run_planned", run=run_id, problem=plan.get("problem", ""))


def _plan(run: Run) -> dict[str, Any]:
    assert run.base is not None
    find_shape(model_path(run.base))  # a model that cannot be trained is refused before its data is written
    path = prepare(run)
    data = run_folder(run) / "data"
    mixed: list[dict[str, Any]] = [
        {"name": str(dataset or run.snapshot), "rows": lines, "weight": weight, "read": repeated(lines, weight)}
        for (dataset, weight), lines in zip(sources_of(run), map(lines_in, read_run(path)[1].data))
    ]
    rows, held_out = sum(one["rows"] for one in mixed), lines_in(data / "held_out.jsonl")
    if not rows:
        raise MendableError("There is nothing to train on: every row is held out, or there is none.")
    notes = []
    context = _positions(model_path(run.base))
    if context and context < run.settings["context"]:
        notes.append(
            f"The model holds {context:,} tokens, so no text is longer than that, whatever the context setting says."
        )
    if "batch" in run.settings:
        path = _fit_batch(run, path, rows, min(context or run.settings["context"], run.settings["context"]), notes)
    gpu = Gpu.objects.filter(memory__gt=0).order_by("-memory").first()
    card = next((name for part, name in CARDS.items() if gpu is not None and part in gpu.name), "a100-80")
    plan = make_plan(*read_run(path), gpus=run.gpus, nodes=run.nodes, gpu=card, tokens_per_word=TOKENS_PER_WORD)
    if gpu is None:
        notes.append("No GPU is registered: it will run on a processor, and the figures are those of an A100.")
    if run.nodes > 1:
        notes += _machines(run)
    needs = int(
        checkpoint_bytes(plan.setup) * (run.settings["keep"] + 1) + 2 * plan.setup.bytes_per_weight * plan.setup.total
    )
    found: dict[str, Any] = {
        "rows": rows,
        "held_out": held_out,
        "sources": mixed if run.settings.get("sources") else [],
        "tokens": int(plan.texts.tokens),
        "longest": plan.texts.longest,
        "steps": plan.steps,
        "memory": int(memory(plan.setup).peak),
        "card": card,
        "card_memory": int(plan.card.memory),
        "disk": needs,
        "text": format_plan(plan),
        "notes": notes,
    }
    found["gpu_hours"], found["hours_from"] = _hours(run, plan)
    if RECIPES[run.recipe].has_group("rewards"):
        found["judges"] = judges_named()
    free = free_disk()
    if free is not None and needs + DISK_RESERVE > free:
        found["problem"] = (
            f"It needs {needs / 1e9:.1f} GB of disk for checkpoints and the model, and {free / 1e9:.1f} GB are free. Delete old "
            "versions, or keep fewer checkpoints."
        )
    elif gpu is not None and not plan.fits:
        found["problem"] = "It does not fit into a GPU's memory. The whole plan below says what would help."
    return found


def _machines(run: Run) -> list[str]:
    able = Machine.objects.annotate(number=Count("gpus")).filter(number__gte=run.gpus).count()
    waits = (
        []
        if able >= run.nodes
        else [f"It waits until {run.nodes} machines have {run.gpus} GPUs each; {able} are registered."]
    )
    return [
        *waits,
        "Runs on several machines have not been run on GPUs yet; what they need is in the whole plan below.",
    ]


def _fit_batch(run: Run, path: Path, rows: int, context: int, notes: list[str]) -> Path:
    """Reduce the batch if there are fewer examples, since rows that are too long may be left out. Returns the path of the settings."""
    recipe, settings = read_run(path)
    fitting = settings.model_copy(update={"context": context})
    texts = count_texts(recipe, fitting, TOKENS_PER_WORD)
    examples = int(texts.examples)
    if texts.too_long:
        done = {"drop": "are left out", "cut": "are cut"}.get(
            fitting.overlong, "end the run: set overlong to drop or cut"
        )
        if recipe.example == "group":
            done = "leave no room for an answer, which ends the run: raise the context"
        notes.append(f"About {texts.too_long:,} of {rows:,} rows are longer than {context:,} tokens and {done}.")
    if not examples:
        raise MendableError(f"There is nothing to train on: no row of {rows:,} fits into {context:,} tokens.")
    batch = run.settings["batch"]
    if run.starts_itself:
        batch = max(1, min(batch, int(examples * run.settings["epochs"] / STEPS_WANTED)))
    if batch > examples:
        raise MendableError(f"One step takes {batch} examples, but there are only {examples:,}. Lower the batch.")
    if batch != run.settings["batch"]:
        notes.append(
            f"Steps take {batch} {'example' if batch == 1 else 'examples'} each instead of {run.settings['batch']}, because there are only {examples:,}."
        )
        run.settings["batch"] = batch
        path = prepare(run)
    return path


def _hours(run: Run, plan: Any) -> tuple[float | None, str]:
    """GPU hours and how they were estimated: by the speed of the last run of the recipe, or computed if there is a GPU."""
    tokens = (plan.steps or 0) * plan.step_tokens
    assert run.base is not None
    done = Run.objects.filter(recipe=run.recipe, state=RunState.DONE, base__isnull=False).order_by("-finished")
    last = next((one for one in done.select_related("base")[:20] if one.base and one.base.root == run.base.root), None)
    if last is not None and tokens:
        speeds = [
            body["values"]["tokens_per_second"]
            for body in last.events.filter(kind="metrics").order_by("-seq").values_list("body", flat=True)[:50]
            if "tokens_per_second" in body.get("values", {})
        ]
        if speeds:
            speed = sorted(speeds)[len(speeds) // 2] * run.all_gpus / max(1, last.all_gpus)
            return tokens / speed / 3600 * run.all_gpus, f"by the speed of run {last.pk}"
    if Gpu.objects.filter(memory__gt=0).exists() and plan.steps:
        return (
            plan.likely_hours * run.all_gpus,
            f"computed, at {plan.mfu:.0%} of the cards' arithmetic, which no GPU has shown yet",
        )
    return None, "no run of this kind has been made on a processor yet"


def free_disk() -> float | None:
    """Bytes that a new run may use on this machine: the free space, within the limit of the site."""
    folder = private(studio())
    free = float(shutil.disk_usage(folder).free)
    if settings.STUDIO_DISK_GB:
        free = min(free, settings.STUDIO_DISK_GB * 1e9 - size(folder))
    return free


def _positions(folder: Path) -> int | None:
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return positions(values)


def clear_old_drafts(days: int = 7) -> None:
    """Stop drafts that were never started."""
    old = Run.objects.filter(state=RunState.DRAFT, created__lt=timezone.now() - timedelta(days=days))
    old.update(state=RunState.STOPPED, finished=timezone.now())
