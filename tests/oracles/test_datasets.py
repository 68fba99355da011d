"""A snapshot's files are loaded by `datasets` and accepted by TRL's check of formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.writer.editorial.test_acts import marked
from tests.writer.editorial.test_snapshots import ANY, lines, made, voted
from writer.accounts.models import User
from writer.editorial.models import Pair, PrincipleVersion, Snapshot, Take
from writer.editorial.operations.share import share
from writer.editorial.snapshots.formats import written
from writer.editorial.snapshots.query import SnapshotQuery

pytestmark = pytest.mark.django_db
TOKENIZER = Path(__file__).resolve().parents[2] / "demo" / "model"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hub is asked, and nothing is left in a cache of this machine."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


@pytest.fixture
def preferences(take: Take, pair: Pair, editor: User, owner: User, admin: User, version: PrincipleVersion) -> Snapshot:
    """A pair that was voted on, and passages that were mended at the beginning and further on."""
    marked(editor, take, version, "The keeper was sad.", better="The keeper left the lamp dark.")
    marked(editor, take, version, better="a tin of buttons 🌊")
    assert take.brief.story_id
    share(by=owner, story_id=take.brief.story_id, consent="training", given=True)
    voted(pair, editor, 1)
    snapshot = made(ANY, admin)
    assert snapshot.rows == 3
    return snapshot


@pytest.fixture
def load(tmp_path: Path) -> Callable[[Snapshot, str], Any]:
    from datasets import load_dataset

    def read(snapshot: Snapshot, name: str) -> Any:
        path = tmp_path / name
        with written(snapshot, name) as file:
            path.write_bytes(file.read())
        kind = "json" if name.endswith("jsonl") else "parquet"
        return load_dataset(kind, data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))

    return read


@pytest.mark.parametrize("name", ["train.jsonl", "train.parquet"])
def test_datasets_reads_what_was_written(preferences: Snapshot, load: Callable[..., Any], name: str) -> None:
    loaded = load(preferences, name)
    assert loaded.column_names == ["prompt", "chosen", "rejected"]
    assert list(loaded) == lines(preferences)


@pytest.mark.parametrize("name", ["train.jsonl", "train.parquet"])
def test_trl_accepts_the_preferences(preferences: Snapshot, load: Callable[..., Any], name: str) -> None:
    from transformers import AutoTokenizer
    from trl.data_utils import apply_chat_template, is_conversational

    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    for example in load(preferences, name):
        assert is_conversational(example)
        said = apply_chat_template(example, tokenizer)
        assert set(said) == {"prompt", "chosen", "rejected"}
        assert example["prompt"][0]["content"] in said["prompt"]
        assert said["chosen"].startswith(example["chosen"][0]["content"])
        assert said["rejected"].startswith(example["rejected"][0]["content"])


def test_trl_refuses_what_is_not_in_its_format(preferences: Snapshot) -> None:
    """The check can fail: a column too few, and TRL says so."""
    from transformers import AutoTokenizer
    from trl.data_utils import apply_chat_template

    example = lines(preferences)[0]
    del example["rejected"]
    with pytest.raises(KeyError, match="Invalid keys"):
        apply_chat_template(example, AutoTokenizer.from_pretrained(TOKENIZER))


@pytest.mark.parametrize("name", ["train.jsonl", "train.parquet"])
def test_trl_accepts_prompts_only(preferences: Snapshot, admin: User, load: Callable[..., Any], name: str) -> None:
    from transformers import AutoTokenizer
    from trl.data_utils import apply_chat_template, is_conversational

    loaded = load(made(SnapshotQuery(kind="prompts"), admin), name)
    assert loaded.column_names == ["prompt"]
    for example in loaded:
        assert is_conversational(example)
        assert set(apply_chat_template(example, AutoTokenizer.from_pretrained(TOKENIZER))) == {"prompt"}
