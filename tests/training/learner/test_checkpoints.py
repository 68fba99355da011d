"""A checkpoint is complete or absent."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.common.errors import MendableError
from training.common.events import EventLog, read_events
from training.learner import checkpoints
from training.learner.checkpoints import latest_checkpoint, load_state, save_checkpoint


def save(folder: Path, step: int) -> Path:
    state = {"step": step, "weights": torch.full((1000,), float(step))}
    return save_checkpoint(folder, step, lambda path: torch.save(state, path / "state.pt"), {"settings": {"seed": 1}})


def latest(folder: Path) -> tuple[Path | None, list[str]]:
    logged: list[str] = []
    found = latest_checkpoint(folder, logged.append)
    return (found[0] if found else None), logged


def test_the_newest_two_are_kept_and_the_newest_is_found(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        save(tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000010", "step-000015"]
    found, logged = latest(tmp_path)
    assert found == tmp_path / "step-000015"
    assert not logged
    assert load_state(tmp_path / "step-000015")["weights"][0] == 15


@pytest.mark.parametrize("damage", ["cut", "flipped", "no manifest", "half a manifest", "no state"])
def test_a_damaged_checkpoint_is_skipped(tmp_path: Path, damage: str) -> None:
    save(tmp_path, 5)
    newest = save(tmp_path, 10)
    state, manifest = newest / "state.pt", newest / "manifest.json"
    content = state.read_bytes()
    if damage == "cut":
        state.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        state.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "half a manifest":
        manifest.write_text(manifest.read_text()[:40])
    else:
        state.unlink()
    found, logged = latest(tmp_path)
    assert found == tmp_path / "step-000005"
    assert logged == [f"The checkpoint {newest} is damaged and is skipped."]


def test_a_kill_while_writing_leaves_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 5)
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "_digest", lambda _: 1 / 0)  # fails between the state and the manifest
        with pytest.raises(ZeroDivisionError):
            save(tmp_path, 10)
    assert latest(tmp_path)[0] == tmp_path / "step-000005"
    save(tmp_path, 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000005", "step-000010"]


def test_a_damaged_checkpoint_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    (save(tmp_path, 5) / "manifest.json").unlink()
    with pytest.raises(MendableError, match=r"All checkpoints in .* are damaged \(step-000005\): restore one"):
        latest(tmp_path)
    save(tmp_path, 5)
    assert latest(tmp_path)[0] == tmp_path / "step-000005"


def test_events_after_a_cut_line_are_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.metrics(1, loss=2.5)
    with path.open("a") as file:
        file.write('{"kind":"met')
    log = EventLog(path)
    with log.phase("corpus"):
        log.log("“Hello”\nthere")
    assert [event.kind for event in read_events(path)] == ["metrics", "log", "phase"]
