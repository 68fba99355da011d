"""The dry run of a stage: what it reads, whom it asks, how much, and what that may cost."""

from __future__ import annotations

from typing import Any

from training.common.errors import MendableError
from training.common.tasks import TASKS
from workers.jobs.runs import stages
from workers.jobs.runs.folders import lines_in, run_folder
from workers.jobs.runs.material import prepare
from writer.editorial.models import SnapshotRow
from writer.studio.kinds import asks_a_teacher, renewed, shows_passages, teacher_named
from writer.studio.models import Run, RunState


def plan(run: Run) -> dict[str, Any]:
    """Raises MendableError where there is nothing to read."""
    prepare(run)
    data = run_folder(run) / "data"
    rows = run.dataset.rows if run.dataset and shows_passages(run.recipe) else lines_in(data / stages.TEXTS)
    notes = _left_out(run)
    if not rows:
        raise MendableError(f"There is nothing to read. {' '.join(notes)}".strip())
    found: dict[str, Any] = {"rows": rows, "held_out": 0, "notes": notes}
    if asks_a_teacher(run.recipe):
        found |= {"teacher": teacher_named()} | _cost(run, _questions(run, rows))
    return found


def _left_out(run: Run) -> list[str]:
    if run.snapshot_id is None:
        return []
    drafts = SnapshotRow.objects.filter(snapshot=run.snapshot_id, gone=None).exclude(origin__source="violations")
    kept_back = drafts.count() - stages.good_rows(run).count()
    if not kept_back:
        return []
    return [
        f"{kept_back:,} of {drafts.count():,} good texts are left out: their writers allow no model outside of the house."
    ]


def _questions(run: Run, texts: int) -> int:
    """The most that may be asked, repetitions not counted."""
    asked = renewed(run.recipe, run.settings)
    texts = min(texts, asked.get("max_texts") or texts)
    match run.recipe:
        case "violations":  # which principles; then in each round a change and a judgement of it
            return texts * (1 + 2 * int(asked["rounds"]))
        case "backtranslate":  # for each task a request and a score, and a plan, at most twice, for a story
            planned = [task for task in asked["tasks"] if asked["thinking"] and TASKS[task].composes]
            return texts * 2 * (len(asked["tasks"]) + len(planned))
        case _:
            return 2 * int(asked["samples"])


def _cost(run: Run, questions: int) -> dict[str, Any]:
    """By the last stage of its kind, or not known."""
    teacher = run.settings["teacher"]
    bounds = {"most_tokens": teacher["most_tokens"], "most_money": teacher["most_money"]}
    last = (
        Run.objects.filter(recipe=run.recipe, state=RunState.DONE, report__cost__asked__gt=0)
        .order_by("-finished")
        .first()
    )
    if last is None or last.report is None:
        return {"questions": questions, "cost_from": "no stage of this kind was run yet"} | bounds
    cost = last.report["cost"]
    tokens = {name: int(cost[name] / cost["asked"] * questions) for name in ("tokens_in", "tokens_out")}
    money = (tokens["tokens_in"] * teacher["price_in"] + tokens["tokens_out"] * teacher["price_out"]) / 1e6
    return {
        "questions": questions,
        **tokens,
        "money": round(money, 2),
        "cost_from": f"by what run {last.pk} took a question",
    } | bounds
