"""Stages as runs: the texts that a stage reads, the teacher that it asks, and what is done with its output.

    a snapshot's good texts, or a data set  ->  data/texts.jsonl  ->  the stage  ->  dataset/  ->  violations for editors, or a data set

A draft is sent to a teacher outside the site only if its writer consents. Consent may be withdrawn while a stage is running:
`withdrawn` detects that, and the stage is restarted without the text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Q, QuerySet

from training.common.errors import MendableError
from training.constitution.texts import GoodText
from training.recipes.registry import STAGES
from workers.folders import files_of
from workers.jobs import datasets
from writer.editorial.constitution import record_of
from writer.editorial.models import Making, SnapshotRow, Take
from writer.editorial.operations.freeze import brief_asked, take_of
from writer.editorial.operations.store_violations import ViolationRow, store_violations
from writer.editorial.reading import principles_in_force
from writer.editorial.snapshots.formats import example_of
from writer.stories.text import paragraphs
from writer.studio.held_out import is_held_out
from writer.studio.models import Dataset, Run
from writer.studio.registry import DECLARED, kinds_read

TEXTS = "texts.jsonl"


# Input


def reads(run: Run, data: Path) -> dict[str, Any]:
    """The settings that name the files and the teacher of a stage. Missing files are written."""
    if run.dataset is not None and run.dataset.kind not in kinds_read(run.recipe):
        raise MendableError(f"{run.recipe} cannot read {run.dataset}.")
    found: dict[str, Any] = {}
    declared = DECLARED[run.recipe]
    if declared.has_group("corpus"):
        assert run.dataset is not None
        assert run.corpus is not None
        files = {
            apart: [str(path) for path in files_of(run.dataset) if datasets.is_held_out_file(path) == apart]
            for apart in (False, True)
        }
        found |= {"data": files[False], "held_out": files[True]}
        found["corpus"] = [_written(data / "corpus.jsonl", _lines(run.corpus))]
    else:
        if run.snapshot_id is not None:  # consents may have changed since
            (data / TEXTS).unlink(missing_ok=True)
        found["data"] = [_written(data / TEXTS, _texts(run))]
    if declared.has_group("constitution"):
        found["constitution"] = constitution(data)
    if declared.has_group("teacher"):
        if not settings.TEACHER_URL:
            raise MendableError("There is no teacher: set TEACHER_URL, or MODEL_SERVER_URL.")
        teacher = {"url": settings.TEACHER_URL, "model": settings.TEACHER_MODEL, "inside": not settings.TEACHER_OUTSIDE}
        found["teacher"] = run.settings["teacher"] | teacher
    return found


def key() -> dict[str, str]:
    """The teacher's key, for the environment of a stage."""
    return {"TEACHER_KEY": settings.TEACHER_KEY}


def constitution(data: Path) -> str:
    """Write the principles in force; returns the path of the file."""
    return _written(data / "constitution.json", [{"principle": list(_constitution())}])


def _written(path: Path, lines: Iterable[dict[str, Any]]) -> str:
    if not path.exists():
        fresh = path.with_suffix(".writing")
        with fresh.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        fresh.rename(path)
    return str(path)


def _lines(dataset: Dataset) -> Iterator[dict[str, Any]]:
    for line, is_apart in datasets.lines_of(dataset):
        yield line | {"held_out": is_apart}


def _texts(run: Run) -> Iterator[dict[str, Any]]:
    """Good texts, numbered by the rows of the snapshot or the lines of the data set, with paragraphs as in a take."""
    if run.snapshot is None:
        assert run.dataset is not None
        for number, line in enumerate(_lines(run.dataset)):
            good = GoodText.model_validate(line | {"id": str(number)})
            prompt = [message.model_dump() for message in good.prompt]
            yield good.model_dump(exclude_unset=True) | {"prompt": prompt, "text": "\n\n".join(paragraphs(good.text))}
        return
    if run.snapshot.state != Making.READY:
        raise MendableError(f"{run.snapshot} is not ready: {run.snapshot.problem or 'it is still being made'}.")
    for row in good_rows(run).select_related("brief", "chosen", "rejected").iterator(chunk_size=200):
        assert row.brief is not None
        example = example_of(row)
        text = example["chosen"][-1]["content"]
        yield {
            "id": str(row.index),
            "prompt": example["prompt"],
            "text": text,
            "held_out": is_held_out(row.brief.sha256),
        }


def good_rows(run: Run) -> QuerySet[SnapshotRow]:
    """Rows whose chosen text the stage may read: preferred drafts, and corrected passages."""
    rows = SnapshotRow.objects.filter(snapshot=run.snapshot_id, gone=None).exclude(origin__source="violations")
    if settings.TEACHER_OUTSIDE:
        rows = rows.filter(Q(brief__story=None) | Q(brief__story__sharing__outside=True))
    return rows.order_by("index")


def rows_there(run: Run, data: Path) -> set[int]:
    """The indices of the snapshot's rows that a stage reads."""
    path = data / TEXTS
    if run.snapshot_id is None or not path.exists():
        return set()
    with path.open("rb") as file:
        return {int(json.loads(line)["id"]) for line in file}


def withdrawn(run: Run, there: set[int]) -> bool:
    """Whether a writer has withdrawn the consent that one of these rows needs."""
    return bool(there) and not there <= set(good_rows(run).values_list("index", flat=True))


def _constitution() -> Iterator[dict[str, Any]]:
    for version in principles_in_force().order_by("principle__key"):
        yield record_of(version).model_dump(mode="json") | {"version": version.number}


# Output


def keep(run: Run, folder: Path) -> tuple[Dataset | None, dict[str, Any]]:
    """Store the output; returns the data set, if the output is one, and the report. Idempotent. Raises MendableError if nothing was made."""
    report: dict[str, Any] = json.loads((folder / "report.json").read_text("utf-8"))
    if not any(report["rows"].values()):
        rejected = report.get("rejected") or report.get("dropped", {})  # the name of older reports
        reasons = ", ".join(f"{number:,} {reason.replace('_', ' ')}" for reason, number in rejected.items())
        raise MendableError(f"Nothing was made. Left out: {reasons or 'all of it'}.")
    if STAGES[run.recipe].produces == "violations":
        return None, report | {"stored": store_violations(_violations(run, folder), source=f"run {run.pk}")}
    name = f"{run.recipe} {run.pk}"
    made = Dataset.objects.filter(name=name).first()
    return made or datasets.add_dataset(name, folder, card=(folder / "README.md").read_text("utf-8")), report


def _violations(run: Run, folder: Path) -> Iterator[ViolationRow]:
    texts = _numbered(folder.parent / "data" / TEXTS) if run.snapshot_id is None else {}
    for name in ("train", "held_out"):
        with (folder / f"{name}.jsonl").open("rb") as file:
            for line in map(json.loads, file):
                good, [principle] = line["chosen"][-1]["content"], line["principles"]
                found = _of_row(run, int(line["id"])) if run.snapshot_id else _of_text(texts[line["id"]])
                start = found[1] + line["start"] if found else 0
                if found is None or found[0].text[start : start + len(good)] != good:
                    continue
                yield ViolationRow(
                    take=found[0].pk,
                    start=start,
                    end=start + len(good),
                    worse=line["rejected"][-1]["content"],
                    principle=principle[0],
                    version=principle[1],
                    because=line["because"],
                    changed=line["changed"],
                )


def _numbered(path: Path) -> dict[str, dict[str, Any]]:
    with path.open("rb") as file:
        return {line["id"]: line for line in map(json.loads, file)}


def _of_row(run: Run, index: int) -> tuple[Take, int] | None:
    """The take that contains the good text of a row, and where the text begins in it. A corrected text becomes a new take."""
    row = good_rows(run).select_related("brief", "chosen").filter(index=index).first()
    if row is None or row.brief is None or row.chosen is None:
        return None
    if row.passage is None:
        return row.chosen, 0
    text, passage = row.chosen.text, row.passage
    corrected = text[: passage["start"]] + passage["better"] + text[passage["end"] :]
    begin = text.rfind("\n\n", 0, passage["start"])
    return take_of(row.brief, corrected, origins=row.chosen.origins), begin + 2 if begin >= 0 else 0


def _of_text(line: dict[str, Any]) -> tuple[Take, int]:
    return take_of(brief_asked(line["prompt"]), line["text"]), 0
