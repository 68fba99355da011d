"""`manage.py add_dataset`: what is in the data set, what is refused and where, and that a run can be prepared from it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.training import models
from tests.training.conftest import made_up_story
from training.common.manifest import make_manifest, sha256_of
from training.common.text import count_words
from training.corpus.build import build_corpus
from training.corpus.settings import CorpusSettings
from training.recipes.registry import read_run
from workers.folders import datasets, run_folder
from workers.jobs.runs.material import prepare
from writer.accounts.models import AuditEvent, User
from writer.stories.models import ModelVersion
from writer.studio.defaults import defaults_of
from writer.studio.models import Dataset, Run
from writer.studio.operations.ask_run import data_for

pytestmark = pytest.mark.django_db
TEXT = {"text": "The lamp was lit at six."}
TALK = {"messages": [{"role": "user", "content": "Light it."}, {"role": "assistant", "content": "It is lit."}]}
TWO_PARTS = {"prompt": TALK["messages"][:1], "completion": TALK["messages"][1:]}
BETTER = {
    "prompt": TALK["messages"][:1],
    "chosen": TALK["messages"][1:],
    "rejected": [{"role": "assistant", "content": "No."}],
}


@pytest.fixture
def folder(site: Path) -> Path:
    (site / "brought").mkdir()
    return site / "brought"


def add(folder: Path, name: str = "A corpus") -> Dataset:
    call_command("add_dataset", name, str(folder))
    return Dataset.objects.get(name=name)


def refused(folder: Path, because: str, name: str = "A corpus") -> None:
    before = Dataset.objects.count(), AuditEvent.objects.count(), sorted(datasets().glob("*"))
    with pytest.raises(CommandError, match=because):
        call_command("add_dataset", name, str(folder))
    assert (Dataset.objects.count(), AuditEvent.objects.count(), sorted(datasets().glob("*"))) == before


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def run_of(dataset: Dataset, recipe: str, base: ModelVersion, by: User) -> Run:
    return Run.objects.create(recipe=recipe, settings=defaults_of(recipe, base), base=base, dataset=dataset, by=by)


def test_a_corpus_becomes_a_data_set_that_a_run_reads(base: ModelVersion, site: Path, admin: User) -> None:
    """From `python -m training corpus` to the files that the recipe opens."""
    for book in ("first", "second"):
        (site / book).mkdir()
        story = {"author": f"Author of the {book}", "anthology": book, "title": "The Lamp"}
        seeds = range(5) if book == "first" else range(5, 7)
        told = [story | {"id": f"{book}/{seed}", "text": made_up_story(seed)} for seed in seeds]
        models.write_lines(site / book / "stories.jsonl", told)
    settings = CorpusSettings(
        sources=(site / "first", site / "second"),
        out=site / "out",
        workers=1,
        quality_threshold=0,
        held_out_authors=("Author of the second",),
    )
    report = build_corpus(settings, say=lambda _: None)
    assert (report.train.stories, report.held_out.stories) == (5, 2)

    found = add(site / "out")
    assert (found.kind, found.rows) == ("texts", report.train.stories + report.held_out.stories)
    assert found.words == report.train.words + report.held_out.words
    kept = datasets() / found.folder
    assert sorted(path.name for path in kept.iterdir()) == ["held_out.jsonl", "train.jsonl"], "not the rejected rows"
    assert found.sha256 == sha256_of(make_manifest(kept))
    assert (f"dataset:{found.pk}", f"A corpus: {found.rows} rows") in data_for("pretrain")

    run = run_of(found, "pretrain", base, admin)
    path = prepare(run)
    _, read = read_run(path)
    data = run_folder(run) / "data"
    assert [str(one) for one in read.data] == [str(data / "train.jsonl")]
    assert [str(one) for one in read.held_out] == [str(data / "held_out.jsonl")]
    assert (len(lines(data / "train.jsonl")), len(lines(data / "held_out.jsonl"))) == (
        report.train.stories,
        report.held_out.stories,
    )
    assert lines(data / "train.jsonl")[0].keys() == {"id", "author", "title", "language", "text"}, (
        "the rest of a line is not kept"
    )


@pytest.mark.parametrize("first", ["\ufeff", "\n \n"], ids=["marked", "blank"])
@pytest.mark.parametrize(
    ("line", "kind", "recipe", "kept", "words"),
    [
        (TEXT | {"author": "A", "pages": 3}, "texts", "pretrain", TEXT | {"author": "A"}, 6),
        (TALK | {"source": "x"}, "conversations", "sft", TALK, 5),
        (TWO_PARTS, "conversations", "sft", TALK, 5),
        ({"prompt": "Light it.", "completion": "It is lit."}, "conversations", "sft", TALK, 5),
        ({"instruction": "Light it.", "input": "", "output": "It is lit."}, "conversations", "sft", TALK, 5),
        (
            {"conversations": [{"from": "human", "value": "Light it."}, {"from": "gpt", "value": "It is lit."}]},
            "conversations",
            "sft",
            TALK,
            5,
        ),
        (BETTER | {"label": 0.75, "pair": 3}, "preference", "dpo", BETTER | {"label": 0.75}, 6),
    ],
)
def test_the_kind_is_found_in_the_lines(
    folder: Path,
    base: ModelVersion,
    admin: User,
    line: dict[str, Any],
    kind: str,
    recipe: str,
    kept: Any,
    words: int,
    first: str,
) -> None:
    (folder / "train.jsonl").write_text(first + json.dumps(line) + "\n\n" + json.dumps(line))
    found = add(folder)
    assert (found.kind, found.rows, found.words) == (kind, 2, 2 * words)
    run = run_of(found, recipe, base, admin)
    prepare(run)
    assert lines(run_folder(run) / "data" / "train.jsonl") == [kept, kept]


def test_words_are_kept_as_they_were(folder: Path) -> None:
    text = "He said “no”.\u2028🌊\u00a0\ttwo"
    (folder / "train.jsonl").write_text(json.dumps({"text": text}))
    found = add(folder)
    assert json.loads((datasets() / found.folder / "train.jsonl").read_bytes()) == {"text": text}
    assert found.words == count_words(text)


def test_it_is_on_the_record(folder: Path) -> None:
    models.texts(folder / "train.jsonl", 3)
    found = add(folder)
    event = AuditEvent.objects.get()
    assert (event.act, event.about, event.who) == ("dataset.add", "A corpus", "the site")
    assert (event.details["rows"], event.details["sha256"]) == (3, found.sha256)


def test_each_has_a_folder_of_its_own(folder: Path) -> None:
    models.texts(folder / "train.jsonl", 3)
    one, other = add(folder), add(folder, "Another")
    assert one.folder != other.folder
    assert one.sha256 == other.sha256
    (folder / "train.jsonl").write_text("changed")
    assert len(lines(datasets() / one.folder / "train.jsonl")) == 3
    refused(folder, "There is a data set Another already", name="Another")


@pytest.mark.parametrize(
    ("last", "because"),
    [
        ("{", r"train\.jsonl, line 3 is not a text: .*Invalid JSON"),
        ('{"title": "No text"}', r"train\.jsonl, line 3 is not a text: text: Field required"),
        (json.dumps(TALK), r"train\.jsonl, line 3 is not a text: text: Field required"),
        ('{"text": ""}', r"train\.jsonl, line 3 is not a text: text: "),
        ('{"text": "\\ud800"}', r"train\.jsonl, line 3 is not a text"),
    ],
)
def test_a_bad_line_refuses_all_of_it(folder: Path, last: str, because: str) -> None:
    (folder / "train.jsonl").write_text("\n".join([json.dumps(TEXT), json.dumps(TEXT), last]))
    refused(folder, because)


def test_a_bad_line_of_what_is_held_out(folder: Path) -> None:
    (folder / "train.jsonl").write_text(json.dumps(BETTER))
    (folder / "held_out.jsonl").write_text(json.dumps(TEXT))
    refused(folder, r"held_out\.jsonl, line 1 is not a preference: prompt: Field required")


@pytest.mark.parametrize("first", [b"[1, 2]", b"nothing", b"\xff\xfe", b"[" * 100_000, b'{"title": "No text"}'])
def test_a_first_line_that_says_nothing(folder: Path, first: bytes) -> None:
    (folder / "train.jsonl").write_bytes(first)
    refused(folder, r"train\.jsonl, line 1 is not a text")


def cut_short(folder: Path) -> None:
    (folder / "train.jsonl.gz").write_bytes(gzip.compress(json.dumps(TEXT).encode() * 100)[:-20])


def not_gzip(folder: Path) -> None:
    (folder / "train.jsonl.gz").write_text(json.dumps(TEXT))


def empty(folder: Path) -> None:
    (folder / "train.jsonl").write_text("\n\n")
    models.texts(folder / "held_out.jsonl", 2)


def both(folder: Path) -> None:
    models.texts(folder / "train.jsonl", 2)
    (folder / "train.jsonl.gz").write_bytes(gzip.compress((folder / "train.jsonl").read_bytes()))


def only_held_out(folder: Path) -> None:
    models.texts(folder / "held_out.jsonl", 2)


@pytest.mark.parametrize(
    ("put", "because"),
    [
        (cut_short, r"train\.jsonl\.gz cannot be read after line 0"),
        (not_gzip, r"train\.jsonl\.gz cannot be read after line 0"),
        (empty, r"nothing to train on: .*train\.jsonl has no lines"),
        (both, r"train\.jsonl and train\.jsonl\.gz in .*: keep one"),
        (only_held_out, r"no train\.jsonl in .*brought, plain or gzipped"),
    ],
)
def test_files_that_cannot_be_taken(folder: Path, put: Callable[[Path], None], because: str) -> None:
    put(folder)
    refused(folder, because)


def test_a_folder_or_a_name_that_is_not_there(folder: Path, site: Path) -> None:
    refused(site / "nowhere", "no train.jsonl in .*nowhere")
    models.texts(folder / "train.jsonl", 2)
    refused(folder, "Please write a name", name="  ")


def test_a_disk_that_is_full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    models.texts(folder / "train.jsonl", 2)
    monkeypatch.setattr("workers.jobs.datasets.os.fsync", full)
    refused(folder, "The data cannot be copied: No space left on device")


def test_what_fails_at_the_end_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(_: Path, target: Path) -> Path:
        raise PermissionError(13, f"Permission denied: {target.name}")

    models.texts(folder / "train.jsonl", 2)
    monkeypatch.setattr(Path, "rename", crash)
    refused(folder, "Permission denied")
