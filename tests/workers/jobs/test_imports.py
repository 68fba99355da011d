"""An imported folder becomes a version with its hashes; a refused one leaves only a message."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.training import models
from training.common.manifest import sha256_of, verify
from training.test_model.tokenizer import CHAT_TEMPLATE
from workers.folders import forget, model_path, run_folder, studio
from workers.jobs import imports
from writer.accounts.models import User
from writer.refusals import Refused
from writer.stories.models import ModelVersion
from writer.studio.models import Run, RunState, VersionImport
from writer.studio.operations.import_version import ask_import, incoming
from writer.studio.operations.retire import retire

pytestmark = pytest.mark.django_db
FOREIGN = "{% for message in messages %}{{ message.content }}{% endfor %}"


@pytest.fixture
def brought(base: ModelVersion) -> Path:
    """A model that an operator has put there, of the same tokenizer as the site's own."""
    return models.save(models.random_model("llama"), incoming() / "brought")


def asked(by: User, folder: str = "brought", name: str = "A brought model") -> VersionImport:
    found = ask_import(by=by, name=name, folder=folder)
    imports.import_waiting()
    found.refresh_from_db()
    return found


def refused(by: User, because: str) -> None:
    """Nothing of it is left that is a version, or could be taken for one."""
    before = ModelVersion.objects.count()
    found = asked(by)
    assert because in found.problem
    assert found.version is None
    assert ModelVersion.objects.count() == before
    assert not (studio() / "imports" / str(found.pk)).exists()


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_folder_becomes_a_version(brought: Path, admin: User) -> None:
    found = asked(admin)
    assert found.problem == ""
    version = found.version
    assert version is not None
    folder = studio() / version.folder
    verify(folder, version.manifest, ["model"])
    assert version.sha256 == sha256_of(version.manifest)
    assert {"model/config.json", "model/model.safetensors", "model/tokenizer.json"} <= set(version.manifest)
    assert (folder / "model" / "config.json").read_bytes() == (brought / "config.json").read_bytes()
    assert (version.name, version.tokenizer) == ("A brought model", str(folder / "model"))
    assert version.parent is None
    assert model_path(version) == folder / "model", "where a run that begins from it looks"


def test_it_is_taken_once(brought: Path, admin: User) -> None:
    first = asked(admin)
    assert first.version is not None
    shutil.rmtree(brought)
    imports.import_waiting()
    first.refresh_from_db()
    assert first.problem == ""
    assert ModelVersion.objects.filter(served_name__startswith="longhand-import").count() == 1
    verify(studio() / first.version.folder, first.version.manifest, ["model"])


@pytest.mark.django_db(transaction=True)
def test_of_two_workers_one_takes_it(brought: Path, admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []

    def second_worker() -> None:
        imports.import_waiting()
        connection.close()

    def check(folder: Path) -> None:
        looked.append(folder)
        other = threading.Thread(target=second_worker)
        other.start()
        other.join(10)
        assert not other.is_alive(), "it does not wait for the first"

    monkeypatch.setattr(imports, "check_model_files", check)
    assert asked(admin).version is not None
    assert len(looked) == 2, "before and after it was copied, once"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt", "weights.pkl", "modeling_own.py", "part/setup.py"])
def test_pickles_and_code(brought: Path, admin: User, name: str) -> None:
    (brought / name).parent.mkdir(exist_ok=True)
    (brought / name).write_bytes(b"\x80\x04")
    refused(admin, f"{name} is not accepted")


def test_a_link(brought: Path, admin: User, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_text("{}")
    os.symlink(tmp_path / "elsewhere.json", brought / "vocab.json")
    refused(admin, "vocab.json is a link")


def test_a_configuration_that_asks_for_code(brought: Path, admin: User) -> None:
    change(brought / "config.json", auto_map={"AutoModelForCausalLM": "modeling_own.Own"})
    refused(admin, "needs code of its own")


def test_no_safetensors(brought: Path, admin: User) -> None:
    (brought / "model.safetensors").unlink()
    refused(admin, "no weights in safetensors")


def alone(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(FOREIGN)


def inside(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    change(folder / "tokenizer_config.json", chat_template=FOREIGN)


def inside_and_hidden(folder: Path) -> None:
    change(folder / "tokenizer_config.json", chat_template=FOREIGN)


def a_list(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    templates = [{"name": "default", "template": CHAT_TEMPLATE}, {"name": "tool_use", "template": FOREIGN}]
    change(folder / "tokenizer_config.json", chat_template=templates)


def several_files(folder: Path) -> None:
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text(FOREIGN)


def of_a_processor(folder: Path) -> None:
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": FOREIGN}))


def not_a_text(folder: Path) -> None:
    (folder / "chat_template.jinja").write_bytes(CHAT_TEMPLATE.encode() + b"\xff")


@pytest.mark.parametrize(
    "put",
    [alone, inside, inside_and_hidden, a_list, several_files, of_a_processor, not_a_text],
    ids=lambda put: put.__name__,
)
def test_a_foreign_chat_template(brought: Path, admin: User, put: Callable[[Path], None]) -> None:
    put(brought)
    refused(admin, "unknown to this site")


def test_no_chat_template(brought: Path, admin: User) -> None:
    (brought / "chat_template.jinja").unlink()
    refused(admin, "no chat template")


def test_a_known_chat_template_inside_of_the_configuration(brought: Path, admin: User) -> None:
    (brought / "chat_template.jinja").unlink()
    change(brought / "tokenizer_config.json", chat_template=CHAT_TEMPLATE)
    assert asked(admin).version is not None


def test_a_missing_folder_and_a_link_to_one(base: ModelVersion, admin: User, tmp_path: Path) -> None:
    refused(admin, "There is no folder brought")
    models.save(models.random_model("llama"), tmp_path / "elsewhere")
    incoming().mkdir(parents=True)
    os.symlink(tmp_path / "elsewhere", incoming() / "brought")
    refused(admin, "There is no folder brought")


@pytest.mark.parametrize("folder", ["../tiny", "..", ".", "/tiny", "brought/../../tiny", ""])
def test_a_name_that_leaves_the_folder(brought: Path, admin: User, folder: str) -> None:
    with pytest.raises(Refused, match="Enter the name of a folder"):
        ask_import(by=admin, name="A brought model", folder=folder)
    VersionImport.objects.create(name="A brought model", folder=folder, by=admin)  # past the form
    imports.import_waiting()
    found = VersionImport.objects.get()
    assert "There is no folder" in found.problem
    assert found.version is None


def test_an_import_that_fails_half_way(brought: Path, admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, parts: list[str]) -> None:
        assert (folder / "model" / "model.safetensors").exists(), "it was copied"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(imports, "make_manifest", full)
    refused(admin, "It cannot be copied: No space left on device.")


def test_what_cannot_be_copied_is_named(brought: Path, admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise shutil.Error([("brought/config.json", "there", "Permission denied")])

    monkeypatch.setattr(shutil, "copytree", gone)
    refused(admin, "brought/config.json cannot be copied: Permission denied.")


def test_one_that_is_refused_does_not_hold_up_the_next(brought: Path, base: ModelVersion, admin: User) -> None:
    """A name that the database cannot hold, and one that was given to another version after it was asked for."""
    shutil.copytree(brought, incoming() / "second")
    shutil.copytree(brought, incoming() / "third")
    Path(os.fsdecode(os.fsencode(brought) + b"/\xff.bin")).write_bytes(b"")
    for folder, name in (("brought", "One"), ("second", "Two"), ("third", "Three")):
        ask_import(by=admin, name=name, folder=folder)
    ModelVersion.objects.filter(pk=base.pk).update(name="Two")
    imports.import_waiting()
    one, two, three = VersionImport.objects.order_by("pk")
    assert "is not accepted" in one.problem
    assert two.problem == "There is already a version with this name."
    assert three.version is not None
    assert sorted(path.name for path in (studio() / "imports").iterdir()) == [str(three.pk)]


def test_the_page_shows_what_waits_and_what_was_refused(brought: Path, admin: User, client: Client) -> None:
    asked(admin, name="It was taken in")
    asked(admin, folder="nowhere", name="It was refused")
    ask_import(by=admin, name="It waits", folder="brought")
    client.force_login(admin)
    page = client.get(reverse("versions"))
    assert [one.name for one in page.context["imports"]] == ["It waits", "It was refused"]
    assert "There is no folder nowhere" in page.content.decode()
    assert "It waits (brought): is being checked." in page.content.decode()


def test_the_weights_of_a_retired_version_are_deleted(brought: Path, admin: User) -> None:
    kept, gone = asked(admin).version, asked(admin, name="Another").version
    assert kept is not None
    assert gone is not None
    retire(by=admin, version_id=gone.pk)
    imports.clear_retired()
    assert not (studio() / gone.folder / "model").exists()
    assert (studio() / kept.folder / "model").exists()
    imports.clear_retired()


def ended(run: Run, state: RunState, days: int) -> Run:
    Run.objects.filter(pk=run.pk).update(state=state, finished=timezone.now() - timedelta(days=days))
    for part in ("checkpoints", "data"):
        (run_folder(run) / part).mkdir(parents=True)
        (run_folder(run) / part / "words").write_text("A writer's words.")
    (run_folder(run) / "events.jsonl").write_text("{}\n")
    return run


def test_what_old_runs_hold_is_deleted(queued: Callable[..., Run]) -> None:
    old = [ended(queued(), state, 15) for state in (RunState.STOPPED, RunState.FAILED)]
    new, done = ended(queued(), RunState.FAILED, 13), ended(queued(), RunState.DONE, 15)
    waiting = queued()
    imports.clear_old_runs()
    for run in old:
        assert [path.name for path in run_folder(run).iterdir()] == ["events.jsonl"]
    for run in (new, done):
        assert (run_folder(run) / "checkpoints" / "words").exists()
    forgotten = {run.pk: run.forgotten for run in Run.objects.all()}
    assert forgotten == {old[0].pk: True, old[1].pk: True, new.pk: False, done.pk: False, waiting.pk: False}


def test_a_run_that_goes_on_keeps_its_checkpoints(queued: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody lets the second go on while the first is cleared away."""
    runs = sorted((ended(queued(), RunState.STOPPED, 15) for _ in range(2)), key=lambda run: -run.pk)

    def meanwhile(folder: Path) -> None:
        Run.objects.filter(pk=runs[1].pk).update(state=RunState.QUEUED, finished=None)
        forget(folder)

    monkeypatch.setattr(imports, "forget", meanwhile)
    imports.clear_old_runs()
    assert not (run_folder(runs[0]) / "checkpoints").exists()
    assert (run_folder(runs[1]) / "checkpoints" / "words").exists()
    assert not Run.objects.get(pk=runs[1].pk).forgotten
