"""Errors that a person can correct are explained in one line, without a traceback, and no saved work is lost."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training import models
from tests.training.conftest import ROOT
from tests.training.learner import kinds
from tests.training.recipes.runs import RECIPES, Name, command, make_settings, max_difference, metric_by_step
from training.__main__ import main
from training.common.errors import MendableError
from training.common.events import read_events
from training.datasets.jsonl import MOST_BYTES
from training.recipes.registry import RECIPES as DECLARED
from training.recipes.reward_model import RewardModelSettings
from training.recipes.sft import SftSettings

STEPS, SAVED = 4, 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, data, and a finished run of `sft`."""
    folder = tmp_path_factory.mktemp("whole")
    RECIPES["sft"](make_settings("sft", folder, steps=STEPS, checkpoint_every=SAVED, evaluate_every=2))
    return folder


@dataclass
class Place:
    """A copy of the finished run, in the state after it was killed in its third step."""

    folder: Path
    values: dict[str, Any]
    name: Name = "sft"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def model(self) -> Path:
        return self.folder / "model-qwen3"

    @property
    def data(self) -> Path:
        return self.folder / "sft.jsonl"

    def settings(self) -> Path:
        path = self.folder / "settings.json"
        path.write_text(json.dumps(self.values))
        return path

    def lines(self, *lines: Any) -> None:
        """Insert lines into the data, after the first."""
        good = self.data.read_bytes().splitlines(keepends=True)
        encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines]
        self.data.write_bytes(b"".join([good[0], *encoded, *good[1:]]))

    def config(self, **changes: Any) -> None:
        path = self.model / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def weights(self, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
        path = self.model / "model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, metadata={"format": "pt"})

    def tokenizer(self, **changes: Any) -> None:
        path = self.model / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Place:
    return copy_of(whole, tmp_path / "place")


def copy_of(whole: Path, folder: Path) -> Place:
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "run" / "model")
    shutil.rmtree(folder / "run" / "checkpoints" / f"step-{STEPS:06d}")
    (manifest,) = folder.glob("run/checkpoints/*/manifest.json")
    manifest.write_text(manifest.read_text().replace(str(whole), str(folder)))
    values = make_settings("sft", folder, steps=STEPS, checkpoint_every=SAVED, evaluate_every=2).model_dump(mode="json")
    return Place(folder, values)


def kept(run: Path) -> tuple[dict[str, str], bytes]:
    """The checkpoints and events of a run, which it must not lose."""
    files = sorted(path for path in (run / "checkpoints").rglob("*") if path.is_file() and ".writing" not in str(path))
    digests = {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return digests, (run / "events.jsonl").read_bytes()


def one_line(error: str) -> str:
    assert "Traceback" not in error
    assert error.endswith("\n")
    assert error.count("\n") == 1, error
    return error.strip()


def refused(place: Place, capfd: pytest.CaptureFixture[str]) -> str:
    """Run the command, which must fail with status 2, print one line to stderr, and leave what it saved unchanged. Returns the line."""
    checkpoints, events = kept(place.run)
    capfd.readouterr()
    assert main([place.name, str(place.settings())]) == 2
    output, error = capfd.readouterr()
    assert "Traceback" not in output
    now, events_now = kept(place.run)
    assert now == checkpoints
    assert events_now.startswith(events)
    return one_line(error)


def steps(*several: Callable[[], object]) -> None:
    for one in several:
        one()


def cut(path: Path, share: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def gzipped(place: Place, damage: Callable[[bytes], bytes]) -> None:
    path = place.folder / "data.jsonl.gz"
    path.write_bytes(damage(gzip.compress(place.data.read_bytes())))
    place.values["data"] = [str(path)]


REQUEST = {"role": "user", "content": "A story?"}
ANSWER = {"role": "assistant", "content": "Anna saw the river."}

DATA: dict[str, tuple[Callable[[Place], object], str]] = {
    "missing": (lambda p: p.data.unlink(), "The data file .*sft.jsonl does not exist: correct `data`"),
    "a folder": (
        lambda p: steps(p.data.unlink, p.data.mkdir),
        "sft.jsonl cannot be read after line 0: .*Is a directory",
    ),
    "empty": (lambda p: p.data.write_bytes(b""), "sft.jsonl.* has 0 examples, fewer than one step takes .batch = 6"),
    "blank lines": (lambda p: p.data.write_bytes(b"\n \n"), "has 0 examples.*lower `batch` in the settings, or add"),
    "too little": (lambda p: p.values.update(batch=25), "has 24 examples, fewer than one step takes .batch = 25"),
    "not gzip": (lambda p: gzipped(p, lambda _: b"hello"), "data.jsonl.gz cannot be read after line 0: Not a gzipped"),
    "gzip cut": (lambda p: gzipped(p, lambda raw: raw[:-100]), r"data.jsonl.gz cannot be read after line \d+: .*ended"),
    "gzip spoiled": (
        lambda p: gzipped(p, lambda raw: raw[:300] + bytes(99) + raw[399:]),
        r"data.jsonl.gz cannot be read after line \d+",
    ),
    "not JSON": (lambda p: p.lines(b"a story\n"), "sft.jsonl, line 2 is not a conversation: the line: Invalid JSON"),
    "cut JSON": (lambda p: p.lines(b'{"messages": [\n'), "sft.jsonl, line 2 is not a conversation: .*Invalid JSON"),
    "a list": (lambda p: p.lines([REQUEST, ANSWER]), "line 2 is not a conversation: the line: Input should be"),
    "not UTF-8": (
        lambda p: p.lines('{"messages": "café"}\n'.encode("latin-1")),
        "sft.jsonl, line 2 is not a conversation: .*invalid unicode",
    ),
    "UTF-16": (lambda p: p.data.write_bytes(p.data.read_text().encode("utf-16")), "line 1 is not a conversation"),
    "huge line": (
        lambda p: gzipped(p, lambda raw: raw + gzip.compress(b'"' + b"a" * MOST_BYTES)),
        "data.jsonl.gz, line 25 is longer than 64 MB: put each example on a line of its own",
    ),
    "no messages": (lambda p: p.lines({"text": "hello"}), "line 2 is not a conversation: messages: Field required"),
    "no messages in a list": (
        lambda p: p.lines({"messages": []}),
        "line 2 is not a conversation: messages: .*at least 1",
    ),
    "wrong role": (
        lambda p: p.lines({"messages": [REQUEST, {"role": "author", "content": "x"}]}),
        "line 2 is not a conversation: messages.1.role: Input should be 'system', 'user', 'assistant'",
    ),
    "no text": (
        lambda p: p.lines({"messages": [REQUEST, {"role": "assistant", "content": None}]}),
        "line 2 is not a conversation: messages.1.content: Input should be a valid string",
    ),
    "no answer": (
        lambda p: p.lines({"messages": [ANSWER, REQUEST]}),
        "line 2 is not a conversation: the line: the last message is not the assistant's",
    ),
    "only a prompt": (lambda p: p.lines({"prompt": [REQUEST]}), "line 2 .*: the last message is not the assistant's"),
    "a text as completion": (
        lambda p: p.lines({"prompt": [REQUEST], "completion": "Anna."}),
        "line 2 is not a conversation: the line: prompt is a list of messages, so completion must be one",
    ),
    "no completion": (
        lambda p: p.lines({"prompt": [REQUEST], "completion": None}),
        "line 2 is not a conversation: the line: prompt is a list of messages, so completion must be one",
    ),
    "too long": (
        lambda p: p.values.update(context=64),
        r"sft.jsonl, line \d+ has a text of [\d,]+ tokens, and the context is 64: raise context .if the model has",
    ),
    "held out": (
        lambda p: (p.folder / "sft-held-out.jsonl").write_text("{}\n"),
        "sft-held-out.jsonl, line 1 is not a conversation: messages: Field required",
    ),
    "other data": (
        lambda p: p.lines({"messages": [REQUEST, ANSWER]}),
        "holds a run on other data: the files were changed",
    ),
}

MODEL: dict[str, tuple[Callable[[Place], object], str]] = {
    "no folder": (lambda p: p.values.update(model=str(p.folder / "none")), "There is no model in .*none: no such"),
    "empty folder": (
        lambda p: steps(partial(shutil.rmtree, p.model), p.model.mkdir),
        "There is no model in .*: it has no config.json",
    ),
    "no config": (lambda p: (p.model / "config.json").unlink(), "There is no model in .*: it has no config.json"),
    "config not JSON": (lambda p: cut(p.model / "config.json"), "config.json is not JSON: "),
    "config a list": (lambda p: (p.model / "config.json").write_text("[]"), "config.json is not a model's configurat"),
    "unknown kind": (lambda p: p.config(model_type="gpt9"), "The (model|tokenizer) in .* cannot be read: .*gpt9"),
    "no causal model": (
        lambda p: p.config(model_type="vit", architectures=["ViTModel"]),
        "The model in .* cannot be read: .*ViT",
    ),
    "nonsense": (lambda p: p.config(hidden_size="many"), "The (model|tokenizer) in .* cannot be read: .*hidden_size"),
    "heads that do not fit": (lambda p: p.config(num_attention_heads=3), "The (model|weights) in .*"),
    "no weights": (lambda p: (p.model / "model.safetensors").unlink(), "There are no weights in .*safetensors"),
    "a pickle": (
        lambda p: (p.model / "model.safetensors").rename(p.model / "pytorch_model.bin"),
        r"The weights in .* are a pickle .pytorch_model.bin.*convert the model to safetensors",
    ),
    "weights cut": (lambda p: cut(p.model / "model.safetensors"), "The model in .* cannot be read: "),
    "weights garbage": (
        lambda p: (p.model / "model.safetensors").write_bytes(b"garbage" * 99),
        "The model in .* cannot be read: ",
    ),
    "weights empty": (lambda p: (p.model / "model.safetensors").write_bytes(b""), "The model in .* cannot be read: "),
    "a part missing": (
        lambda p: (p.model / "model.safetensors").rename(p.model / "model-00001-of-00002.safetensors"),
        "The model in .* cannot be read: .*model.safetensors",
    ),
    "a weight missing": (
        lambda p: p.weights(lambda w: w.pop("model.layers.1.mlp.up_proj.weight")),
        r"The weights in .* lack what its config.json describes: model.layers.1.mlp.up_proj.weight .1 such",
    ),
    "a layer too many": (
        lambda p: p.config(num_hidden_layers=1, layer_types=["full_attention"]),
        r"The weights in .* have more than what its config.json describes: model.layers.1.",
    ),
    "another shape": (
        lambda p: p.config(intermediate_size=64),
        r"do not match its config.json: model.layers.0.mlp.down_proj.weight has shape \[32, 48\], and the configuration \[32, 64\] .6 such",
    ),
    "vocabulary too small": (
        lambda p: steps(lambda: p.config(vocab_size=300), lambda: p.weights(lambda w: shrink(w, 300))),
        r"sft.jsonl, line 1: The tokenizer in .* encodes this text with token 3\d\d, and the model's vocabulary ends at 299",
    ),
    "no template": (lambda p: (p.model / "chat_template.jinja").unlink(), "has no chat template.*put a chat_template"),
    "a template that raises": (
        lambda p: (p.model / "chat_template.jinja").write_text("{{ raise_exception('roles must alternate') }}"),
        "sft.jsonl, line 1: The chat template in .* refuses a conversation: roles must alternate",
    ),
    "a template that is none": (
        lambda p: (p.model / "chat_template.jinja").write_text("{% for %}"),
        "sft.jsonl, line 1: The chat template in .* refuses a conversation: ",
    ),
    "no end token": (lambda p: p.tokenizer(eos_token=None), "has no end token.*set eos_token"),
    "no tokenizer": (
        lambda p: steps(*(path.unlink for path in p.model.glob("tokenizer*"))),
        "There is no tokenizer in .*model-qwen3: it has no tokenizer.json",
    ),
    "tokenizer garbage": (
        lambda p: (p.model / "tokenizer.json").write_text("{}"),
        "The tokenizer in .* cannot be read: ",
    ),
    "tokenizer cut": (lambda p: cut(p.model / "tokenizer.json"), "The tokenizer in .* cannot be read: "),
}


def shrink(weights: dict[str, torch.Tensor], rows: int) -> None:
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = weights[name][:rows].clone()


RUN: dict[str, tuple[Callable[[Place], object], str]] = {
    "other settings": (
        lambda p: p.values.update(batch=8, seed=7),
        r"run holds a run with other settings .batch, seed.: choose another run_dir, or set them back",
    ),
    "other setting of the learner": (
        lambda p: p.values["learner"].update(learning_rate=0.5),
        r"other settings .learner.learning_rate.: choose",
    ),
    "all checkpoints cut": (
        lambda p: steps(*(partial(cut, path) for path in p.run.glob("checkpoints/*/learner.pt"))),
        r"All checkpoints in .* are damaged .step-000002.: restore one from a backup",
    ),
    "manifest of another kind": (
        lambda p: [path.write_text("[]") for path in p.run.glob("checkpoints/*/manifest.json")],
        r"All checkpoints in .* are damaged",
    ),
    "settings with a name too many": (
        lambda p: p.values.update(lerning_rate=1),
        "The settings file .*settings.json has mistakes: lerning_rate: Extra inputs",
    ),
    "no steps": (lambda p: p.values.update(steps=0), "has mistakes: steps: Input should be greater than or equal to 1"),
    "a learning rate that is none": (
        lambda p: p.values["learner"].update(learning_rate=float("nan")),
        "has mistakes: learner.learning_rate: ",
    ),
    "a file as run_dir": (lambda p: spoil_run_dir(p, p.data), "cannot be a folder, because there is a file: choose an"),
    "below a file": (lambda p: spoil_run_dir(p, p.data / "run"), "cannot be a folder, because there is a file: choose"),
}


def spoil_run_dir(place: Place, run: Path) -> None:
    place.values["run_dir"] = str(run)


@pytest.mark.parametrize("case", DATA | MODEL | RUN)
def test_an_error_is_explained_in_one_line(case: str, place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    spoil, message = (DATA | MODEL | RUN)[case]
    spoil(place)
    error = refused(place, capfd)
    assert re.search(message, error), error
    assert len(error) < 900


def ends_like(place: Place, whole: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """Run the same command again: it resumes, and ends like an undisturbed run. Returns its output."""
    capfd.readouterr()
    assert main([place.name, str(place.settings())]) == 0
    output, error = capfd.readouterr()
    assert not error
    assert metric_by_step(place.run) == metric_by_step(whole / "run")
    assert metric_by_step(place.run, "held_out_loss") == metric_by_step(whole / "run", "held_out_loss")
    assert max_difference(place.run / "model", whole / "run" / "model") == 0
    return output


def test_a_run_resumes_once_its_errors_are_corrected(
    place: Place, whole: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data, weights = place.data.read_bytes(), (place.model / "model.safetensors").read_bytes()
    place.lines(b"a story\n")
    refused(place, capfd)
    place.data.write_bytes(data)
    cut(place.model / "model.safetensors")
    refused(place, capfd)
    (place.model / "model.safetensors").write_bytes(weights)
    place.values["batch"] = 7
    refused(place, capfd)
    place.values["batch"] = 6
    assert f"Resuming from {place.run}/checkpoints/step-{SAVED:06d}." in ends_like(place, whole, capfd)
    ends = [event for event in read_events(place.run / "events.jsonl") if event.kind == "ended"]
    assert [end.outcome for end in ends] == ["done", "failed", "failed", "failed", "done"]


def test_a_run_resumes_from_the_older_checkpoint_if_the_newest_is_damaged(
    place: Place, whole: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    newest = place.run / "checkpoints" / f"step-{STEPS:06d}"
    shutil.copytree(whole / "run" / "checkpoints" / newest.name, newest)
    cut(newest / "learner.pt")
    output = ends_like(place, whole, capfd)
    assert f"The checkpoint {newest} is damaged and is skipped." in output
    assert f"Resuming from {place.run}/checkpoints/step-{SAVED:06d}." in output


def test_a_loss_that_is_not_finite(
    place: Place, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In training and on held-out data, from a learning rate that is far too high, and from damaged weights."""
    place.values |= {"run_dir": str(place.folder / "hot"), "checkpoint_every": 1, "steps": 9}
    monkeypatch.setattr("training.learner.run.learning_rate_factor", lambda *_: 1e30)
    error = refused(place, capfd)
    assert re.search(
        r"The loss of step \d is not a finite number, so the run was stopped before it spoiled what is saved: step-00000\d. "
        r"Usual causes: a learning rate that is too high .0.001 here.*python -m training report .*/hot",
        error,
    )
    assert list((place.folder / "hot" / "checkpoints").glob("step-*/manifest.json"))

    place.values |= {"run_dir": str(place.folder / "on held out"), "held_out": [str(place.data)], "evaluate_every": 1}
    error = refused(place, capfd)
    assert "The held out loss after step 1 is not a finite number" in error or "The loss of step 2" in error

    monkeypatch.undo()
    place.values["run_dir"] = str(place.folder / "damaged")
    place.weights(lambda w: w["model.norm.weight"].fill_(float("inf")))
    assert "The loss of step 1 is not a finite number" in (error := refused(place, capfd))
    assert "what is saved: nothing yet" in error


def test_a_run_of_a_single_step_changes_the_weights(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    place.values |= {"run_dir": str(place.folder / "short"), "steps": None, "epochs": 0.001}
    assert main(["sft", str(place.settings())]) == 0
    assert list(metric_by_step(place.folder / "short", "learning_rate").values()) == [1e-3]
    assert max_difference(place.folder / "short" / "model", place.model) > 0


@pytest.mark.parametrize("recipe", DECLARED)
@pytest.mark.parametrize(
    ("kind", "says"), [("mixtral", "is a mixture of experts"), ("falcon", "is of a kind that is not")]
)
def test_a_model_that_cannot_be_trained_is_refused_before_its_data_is_read(
    recipe: str, kind: str, says: str, tmp_path: Path
) -> None:
    model = kinds.save(kind, tmp_path / "model")
    values: dict[str, Any] = {"run_dir": tmp_path / "run", "model": model, "data": [tmp_path / "none.jsonl"]}
    if DECLARED[recipe].has_group("rewards"):
        values["rewards"] = {"weights": {"length": 1.0}}
    with pytest.raises(MendableError, match=says):
        DECLARED[recipe].load()(DECLARED[recipe].settings.model_validate(values))


def test_invalid_pairs(whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Lines that dpo and the reward model refuse, and models that they cannot start from."""
    settings = make_settings("dpo", tmp_path, steps=1)
    good = settings.data[0].read_bytes()
    line = json.loads(good.splitlines()[0])
    other: list[tuple[Any, str]] = [
        ({"prompt": line["prompt"]}, "line 1 is not a preference: chosen: Field required"),
        ({"prompt": 7, "chosen": "A", "rejected": "B"}, "line 1 is not a preference: prompt: Input should be a v"),
        (line | {"chosen": line["prompt"]}, "line 1 .*: the last message of chosen and rejected is not the assistant's"),
        (line | {"label": 0.2}, "line 1 is not a preference: label: Input should be greater than or equal to 0.5"),
    ]  # fmt: skip
    path = settings.run_dir.with_suffix(".json")
    for name in ("dpo", "reward_model"):
        path.write_text(settings.model_dump_json() if name == "dpo" else make_reward(settings))
        for wrong, message in other:
            settings.data[0].write_text(json.dumps(wrong) + "\n")
            capfd.readouterr()
            assert main([name, str(path)]) == 2
            assert re.search(message, one_line(capfd.readouterr().err))
    settings.data[0].write_bytes(good)

    RECIPES["reward_model"](RewardModelSettings.model_validate_json(make_reward(settings)))
    path.write_text(settings.model_copy(update={"model": tmp_path / "rewards" / "model"}).model_dump_json())
    capfd.readouterr()
    assert main(["dpo", str(path)]) == 2
    assert "lack what its config.json describes: lm_head.weight (1 such)" in one_line(capfd.readouterr().err)

    shutil.copytree(settings.model, tmp_path / "damaged")
    tensors = load_file(tmp_path / "damaged" / "model.safetensors")
    tensors["lm_head.weight"].fill_(float("nan"))
    save_file(tensors, tmp_path / "damaged" / "model.safetensors", metadata={"format": "pt"})
    path.write_text(settings.model_copy(update={"model": tmp_path / "damaged"}).model_dump_json())
    assert main(["dpo", str(path)]) == 2
    assert "no finite probability: the model's weights are damaged" in one_line(capfd.readouterr().err)


def make_reward(settings: Any) -> str:
    values = settings.model_dump(
        mode="json", exclude={"recipe", "beta", "label_smoothing", "length_normalised", "reference_cache"}
    )
    return json.dumps(values | {"run_dir": str(settings.run_dir.with_name("rewards")), "recipe": "reward_model"})


def test_two_runs_in_one_folder_and_processes_without_zero(
    place: Place, whole: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (place.run / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "Another process is using" in refused(place, capfd)
    with monkeypatch.context() as several:
        several.setenv("WORLD_SIZE", "2")
        assert "Several processes need zero_stage 1, 2 or 3" in refused(place, capfd)
    ends_like(place, whole, capfd)


@pytest.mark.parametrize("most", [200_000, 100_000])
def test_a_limit_of_file_sizes(most: int, place: Place, whole: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The system's limit has the effect of a full disk, first in a checkpoint, then in the model."""
    if most == 100_000:
        ends_like(place, whole, capfd)  # then only the model has to be written, which is smaller than a checkpoint
        shutil.rmtree(place.run / "model")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        error = refused(place, capfd)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    where = "checkpoints" if most == 200_000 else "model"
    assert (
        f"There is no space left to write in {place.run / where}: free some, and start the same command again" in error
    )
    ends_like(place, whole, capfd)
    assert not [path for path in place.run.rglob("*") if "writing" in path.name]


def test_events_that_cannot_be_written(place: Place, whole: Path, capfd: pytest.CaptureFixture[str]) -> None:
    events = (place.run / "events.jsonl").read_bytes()
    (place.run / "events.jsonl").unlink()
    (place.run / "events.jsonl").symlink_to("/dev/full")
    capfd.readouterr()
    assert main(["sft", str(place.settings())]) == 2
    assert f"There is no space left to write in {place.run}: free some" in one_line(capfd.readouterr().err)
    (place.run / "events.jsonl").unlink()
    (place.run / "events.jsonl").write_bytes(events)
    ends_like(place, whole, capfd)


FILLING = """
import os, subprocess, sys
from pathlib import Path
import training.recipes.sft  # once for the three runs
from training.__main__ import main
disk, settings, out = sys.argv[1:]
def run(name):
    if not (process := os.fork()):
        for number, kind in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{out}/{name}.{kind}", os.O_CREAT | os.O_WRONLY), number)
        code = main(["sft", settings])
        sys.stdout.flush()
        os._exit(code)
    Path(f"{out}/{name}.rc").write_text(str(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])))
def sh(*command):
    subprocess.run(command, check=True)
sh("mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", disk)
run("full")
Path(f"{out}/kept").write_text(" ".join(os.listdir(f"{disk}/run/checkpoints")))
sh("mount", "-o", "remount,ro", disk)
run("closed")
sh("mount", "-o", "remount,rw,size=9m", disk)
run("enlarged")
sh("cp", "-r", f"{disk}/run", f"{out}/run")
"""


def in_a_mount_namespace(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python code that may mount file systems which no other process sees."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("the system does not allow mount namespaces, which a really full disk needs")
    return subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", script, *map(str, arguments)], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.processes
def test_a_full_disk_and_a_read_only_disk(place: Place, whole: Path) -> None:
    """A real disk of 700 kB, which has space for the first checkpoint but not for the second."""
    disk = place.folder / "disk"
    disk.mkdir()
    place.values |= {"run_dir": str(disk / "run")}
    (out := place.folder / "out").mkdir()
    done = in_a_mount_namespace(FILLING, disk, place.settings(), out)
    assert done.returncode == 0, done.stderr
    codes, errors = (
        {name: (out / f"{name}.{kind}").read_text() for name in ("full", "closed", "enlarged")}
        for kind in ("rc", "err")
    )
    assert codes == {"full": "2", "closed": "2", "enlarged": "0"}, errors
    assert f"There is no space left to write in {disk}/run/checkpoints: free some, and start" in one_line(
        errors["full"]
    )
    assert (out / "kept").read_text() == f"step-{SAVED:06d}"
    assert "(Read-only file system): correct that or choose another folder" in one_line(errors["closed"])
    assert not errors["enlarged"]
    assert f"step-{SAVED:06d}." in (out / "enlarged.out").read_text()
    assert metric_by_step(out / "run") == metric_by_step(whole / "run")
    assert max_difference(out / "run" / "model", whole / "run" / "model") == 0
    ends = [event for event in read_events(out / "run" / "events.jsonl") if event.kind == "ended"]
    assert any(end.outcome == "failed" and end.reason.startswith("There is no space left") for end in ends)


def sent(name: Name, settings: Any, what: signal.Signals, when: Callable[[], bool]) -> tuple[int, str, str]:
    """Start a command, send it a signal once `when` returns True, and wait. Returns its exit status and its output on stdout and stderr."""
    arguments, environment = command(name, settings)
    process = subprocess.Popen(
        arguments, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        while not when():
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        process.send_signal(what)
        output, error = process.communicate(timeout=60)
        return process.returncode, output, error
    finally:
        process.kill()
        process.wait()


def tells(run: Path, what: str) -> Callable[[], bool]:
    events = run / "events.jsonl"
    return lambda: events.exists() and what in events.read_text()


@pytest.mark.processes
def test_a_stop_during_the_reference_pass(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """There is nothing to save yet, so the run stops at once, and starts again from the beginning."""
    models.preferences(tmp_path / "dpo.jsonl", 400)
    models.preferences(tmp_path / "dpo-held-out.jsonl", 2, seed=1)
    settings = make_settings("dpo", tmp_path, steps=1)
    code, output, error = sent("dpo", settings, signal.SIGTERM, tells(settings.run_dir, '"name":"model"'))
    assert (code, error) == (0, "")
    assert output.endswith("Stopped while it was getting ready, as asked; the same command starts again.\n")
    assert sorted(path.name for path in settings.run_dir.iterdir()) == [".lock", "events.jsonl"]
    assert RECIPES["dpo"](settings)
    assert "Stopped while" not in capfd.readouterr().out


@pytest.mark.processes
def test_an_interrupted_run_resumes(place: Place, whole: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = (place.run / "events.jsonl").stat().st_size
    place.values["checkpoint_every"] = 100
    settings = SftSettings.model_validate(place.values)

    def under_way() -> bool:
        return b'"kind":"resumed"' in (place.run / "events.jsonl").read_bytes()[before:]

    code, output, error = sent("sft", settings, signal.SIGINT, under_way)
    if code == 0:
        pytest.skip("the run was over before it could be interrupted")
    assert code == 130, error
    assert one_line(error) == "Interrupted; the same command resumes from what is saved."
    assert "Traceback" not in output
    assert not (place.run / "model").exists()
    assert f"Resuming from {place.run}/checkpoints/step-{SAVED:06d}." in ends_like(place, whole, capfd)


OURS = re.compile(
    r"\d+ (conversations|pairs) to learn, |step \d+: |The model is in |Texts are padded rows of similar length, not packed: |"
    r"Resuming from "
)


@pytest.mark.processes
def test_libraries_are_quiet(tmp_path: Path) -> None:
    """Runs print only their own lines, with a model whose layers have optional kernels, with a new head, with DeepSpeed."""
    runs: list[list[str]] = []
    for name, changes in (
        ("sft", {"kind": "qwen3.5"}), ("reward_model", {}), ("dpo", {"learner": {"lora": {"rank": 2, "alpha": 4}}}),
        ("sft", {"learner": {"zero_stage": 2}}),
    ):  # fmt: skip
        settings = make_settings(name, tmp_path, f"run-{len(runs)}", steps=1, **changes)  # type: ignore[arg-type]
        path = settings.run_dir.with_suffix(".json")
        path.write_text(settings.model_dump_json())
        runs.append([name, str(path)])
    code = f"import sys\nfrom training.__main__ import main\nsys.exit(max(main(run) for run in {runs!r}))"
    environment = {name: value for name, value in os.environ.items() if name not in ("WORLD_SIZE", "LOCAL_RANK")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert [line for line in done.stdout.splitlines() if not OURS.match(line)] == []
    assert done.stdout.count("The model is in ") == 4


@pytest.mark.processes
@pytest.mark.soak
def test_a_checkpoint_of_another_number_of_processes(tmp_path: Path) -> None:
    """DeepSpeed's checkpoints have a part for each process: a single process cannot read those of two."""
    settings = make_settings("sft", tmp_path, steps=2, checkpoint_every=1, learner={"zero_stage": 1})
    arguments, environment = command("sft", settings, processes=2)
    subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, timeout=120, check=True)
    checkpoints = kept_checkpoints(settings.run_dir)
    arguments, environment = command("sft", settings)
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    newest = settings.run_dir / "checkpoints" / "step-000002"
    assert one_line(done.stderr) == (
        f"The checkpoint {newest} was written by 2 processes, and this run has 1: start 2 processes."
    )
    assert kept_checkpoints(settings.run_dir) == checkpoints


def kept_checkpoints(run: Path) -> dict[str, str]:
    return kept(run)[0]
