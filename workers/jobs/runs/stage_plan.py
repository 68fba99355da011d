"""The dry run of a stage: what it reads, which teacher it asks, the number of questions, and their cost."""

from __future__ import annotations

from typing import Any

from training.common.errors import MendableError
from training.recipes.registry import STAGES
from workers.folders import lines_in, run_folder
from workers.jobs.runs import stages
from workers.jobs.runs.material import prepare
from writer.editorial.models import SnapshotRow
from writer.studio.models import Run, RunState
from writer.studio.registry import current, teacher_named


def plan(run: Run) -> dict[str, Any]:
    """The plan of a stage. Raises MendableError if there is nothing to read."""
    stage = STAGES[run.recipe]
    prepare(run)
    data = run_folder(run) / "data"
    rows = run.dataset.rows if run.dataset and stage.has_group("corpus") else lines_in(data / stages.TEXTS)
    notes = _left_out(run)
    if not rows:
        raise MendableError(f"There is nothing to read. {' '.join(notes)}".strip())
    found: dict[str, Any] = {"rows": rows, "held_out": 0, "notes": notes}
    if stage.questions is not None:
        found |= {"teacher": teacher_named()} | _cost(run, stage.questions(current(run.recipe, run.settings), rows))
    return found


def _left_out(run: Run) -> list[str]:
    if run.snapshot_id is None:
        return []
    drafts = SnapshotRow.objects.filter(snapshot=run.snapshot_id, gone=None).exclude(origin__source="violations")
    left_out = drafts.count() - stages.good_rows(run).count()
    if not left_out:
        return []
    return [
        f"{left_out:,} of {drafts.count():,} good texts are left out: their writers allow no model outside this site."
    ]


def _cost(run: Run, questions: int) -> dict[str, Any]:
    """The cost by the last run of the same stage, if there is one."""
    teacher = run.settings["teacher"]
    bounds = {"most_tokens": teacher["most_tokens"], "most_money": teacher["most_money"]}
    last = (
        Run.objects.filter(recipe=run.recipe, state=RunState.DONE, report__cost__asked__gt=0)
        .order_by("-finished")
        .first()
    )
    if last is None or last.report is None:
        return {"questions": questions, "cost_from": "no stage of this kind has been run yet"} | bounds
    cost = last.report["cost"]
    tokens = {name: int(cost[name] / cost["asked"] * questions) for name in ("tokens_in", "tokens_out")}
    money = (tokens["tokens_in"] * teacher["price_in"] + tokens["tokens_out"] * teacher["price_out"]) / 1e6
    return {
        "questions": questions,
        **tokens,
        "money": round(money, 2),
        "cost_from": f"by the cost of a question in run {last.pk}",
    } | bounds
