"""Writes the input of a run into its folder before it starts: the data, their held-out part, and the settings with the paths."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from training.common.errors import MendableError
from training.config.declarations import Stage
from training.config.settings import Settings
from training.constitution.mix import mix
from training.constitution.pairs import SourcedPreference, facts_of
from training.constitution.settings import Mix
from training.recipes.registry import RECIPES
from workers.folders import private, run_folder, weights_of
from workers.jobs import datasets
from workers.jobs.runs import rewards, stages
from writer.editorial.models import Making, SnapshotKind, SnapshotRow
from writer.editorial.snapshots.formats import example_of
from writer.studio.held_out import is_held_out
from writer.studio.models import Dataset, Run
from writer.studio.registry import DECLARED, OF_THE_STUDIO, kinds_read


def prepare(run: Run) -> Path:
    """Write the run's data and settings; returns the path of the settings. Idempotent. Raises MendableError if that cannot be done."""
    folder = private(run_folder(run))
    data = private(folder / "data")
    declared = DECLARED[run.recipe]
    paths = stages.reads(run, data) if isinstance(declared, Stage) else _of_training(run, data)
    values = {name: value for name, value in run.settings.items() if name not in OF_THE_STUDIO}
    settings: Settings = declared.settings.model_validate(values | paths | {"run_dir": str(folder)})
    path = folder / "run.json"
    _replace(path, settings.model_dump_json(indent=2).encode())
    return path


def _of_training(run: Run, data: Path) -> dict[str, Any]:
    """The settings that name the files of a training. Missing files are written."""
    assert run.base is not None
    sources, held_out = sources_of(run), data / "held_out.jsonl"
    trains = [data / ("train.jsonl" if not number else f"train-{number + 1}.jsonl") for number in range(len(sources))]
    if not trains[0].exists():
        _write(run, [(one, path) for (one, _), path in zip(sources, trains)], held_out)
    mixed = {"data_weights": [weight for _, weight in sources]} if run.settings.get("sources") else {}
    filled_in = rewards.filled_in(run, data) if RECIPES[run.recipe].has_group("rewards") else {}
    return filled_in | {
        **{name: str(path) for name, path in weights_of(run).items()},
        **mixed,
        "data": [str(path) for path in trains],
        "held_out": [str(held_out)] if held_out.stat().st_size else [],
    }


def sources_of(run: Run) -> list[tuple[Dataset | None, float]]:
    """What the run learns from, with its weight, and the data sets that are mixed with it; None stands for its snapshot."""
    weights = dict(run.settings.get("sources", {}))
    found: list[tuple[Dataset | None, float]] = [(run.dataset, weights.pop(f"dataset:{run.dataset_id}", 1.0))]
    for entry, weight in weights.items():
        dataset = Dataset.objects.filter(pk=int(entry.removeprefix("dataset:"))).first()
        if dataset is None:
            raise MendableError(
                f"The {entry.replace(':', ' ')} that it mixes in is not there any more: make a new run without it."
            )
        found.append((dataset, weight))
    return found


def _write(run: Run, sources: list[tuple[Dataset | None, Path]], held_out: Path) -> None:
    """Write each source into its own file, the first one last, and what is held out of all of them into one."""
    apart = held_out.with_suffix(".writing")
    fresh = {apart: held_out}
    with apart.open("wb") as other:
        for dataset, train in reversed(sources):
            kept = train.with_suffix(".writing")
            with kept.open("wb") as file:
                for line, is_apart in _lines_of(run, dataset):
                    (other if is_apart else file).write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            fresh[kept] = train
    if run.snapshot_id is not None and "mix" in run.settings:
        _mix(kept, Mix.model_validate(run.settings["mix"]), run.settings["seed"])
    for path in fresh:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    for path, final in fresh.items():
        path.rename(final)


def _mix(path: Path, wanted: Mix, seed: int) -> None:
    """Repeat or leave out each pair of the file according to the mix. The file contains no held-out pairs."""
    with path.open("rb") as file:
        facts = [facts_of(SourcedPreference.model_validate_json(line)) for line in file]
    weights = wanted.weights.model_dump()
    times = Counter(mix(facts, weights, rows=wanted.rows, max_repeats=wanted.max_repeats, seed=seed))
    mixed = path.with_suffix(".mixed")
    with path.open("rb") as file, mixed.open("wb") as out:
        for number, line in enumerate(file):
            out.write(line * times[number])
    mixed.rename(path)


def _lines_of(run: Run, dataset: Dataset | None) -> Iterator[tuple[dict[str, Any], bool]]:
    """Each example of a data set, or of the run's snapshot, as JSON, in the form that the recipe reads, and whether it is held out."""
    recipe = RECIPES[run.recipe]
    if dataset is None:
        assert run.snapshot is not None
        if run.snapshot.state != Making.READY:
            raise MendableError(f"{run.snapshot} is not ready: {run.snapshot.problem or 'it is still being made'}.")
        if run.snapshot.kind != SnapshotKind.PREFERENCE or not recipe.from_snapshots:
            raise MendableError(f"{run.recipe} cannot learn from {run.snapshot}.")
    elif dataset.kind not in kinds_read(run.recipe):
        raise MendableError(f"{run.recipe} cannot learn from {dataset}.")
    for line, is_apart in datasets.lines_of(dataset) if dataset else _preferences_of(run):
        if dataset is None and recipe.rows == "conversations":
            yield {"messages": [*line["prompt"], *line["chosen"]]}, is_apart
            continue
        if not recipe.unanswered and "messages" in line and line["messages"][-1]["role"] != "assistant":
            able = ", ".join(one.label for one in RECIPES.values() if one.unanswered)
            raise MendableError(f"{dataset} contains requests without an answer; only {able} can learn from those.")
        yield line, is_apart


def examples_of(run: Run) -> Iterator[tuple[dict[str, Any], bool]]:
    """Each example of the run's data as JSON, and whether it is held out. Needs no recipe, which may not be installed any more."""
    for dataset, _ in sources_of(run):
        yield from datasets.lines_of(dataset) if dataset else _preferences_of(run)


def _preferences_of(run: Run) -> Iterator[tuple[dict[str, Any], bool]]:
    for row in rows_of(run.snapshot_id):
        assert row.brief is not None
        example = {**example_of(row), "label": row.label, "source": row.origin.get("source", "votes")}
        if row.passage is not None:  # the rejected text breaks exactly these
            example["principles"] = row.origin["principles"]
        values = [abs(vote["value"]) for vote in row.origin.get("votes", ()) if vote["value"]]
        if values:
            example["strength"] = 2 if sum(values) / len(values) > 1.5 else 1
        yield example, is_held_out(row.brief.sha256)


def rows_of(snapshot_id: int | None, at_once: int = 200) -> Iterable[SnapshotRow]:
    """The rows that are not tombstones, in order, with their texts."""
    rows = (
        SnapshotRow.objects.filter(snapshot=snapshot_id, gone=None)
        .select_related("brief", "chosen", "rejected")
        .defer("chosen__origins", "rejected__origins")
        .order_by("index")
    )
    last = -1
    while part := list(rows.filter(index__gt=last)[:at_once]):
        yield from part
        last = part[-1].index


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(".writing")
    fresh.write_bytes(content)
    fresh.rename(path)
