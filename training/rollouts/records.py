"""What passes between the server that writes stories, the judges, and the learner; and the dump that holds all of it.

    Task -> Rollout (tokens as the server drew them) -> Verdict (its rewards) -> Group (what is learned from)

`rollouts/step-00012.jsonl` has a line for each story as soon as it is written, and another when it is judged:

    {"story": [3, 1], "policy": 12, "tokens": "...", "logprobs": "...", "ended": true, "text": "..."}
    {"judged": [3, 1], "rewards": {"quality": 0.31, "length": 0.0}, "notes": {}}

[3, 1] is the second story of the step's fourth task; tokens and log-probabilities are int32 and float32, little-endian, in base64. Later lines of a
story do not count: what was learned from once stays what was learned from.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from training.common.append_only import whole_lines
from training.common.errors import MendableError
from training.rewards.records import Verdict

Place = tuple[int, int]
"""The number of a task within its step, and of a story within its task."""
Tokens = npt.NDArray[np.int32]
Logprobs = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Rollout:
    """An answer of the policy after `policy` updates. `tokens` are the answer's alone, its end token included if it has one."""

    tokens: Tokens
    logprobs: Logprobs
    ended: bool
    """By itself; else it was cut."""
    text: str
    policy: int


class Dump:
    """The stories of one step, on disk. Whole lines only; one that a kill cut short is taken out."""

    def __init__(self, path: Path) -> None:
        self.stories: dict[Place, Rollout] = {}
        self.verdicts: dict[Place, Verdict] = {}
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            self._read()
        self._file = path.open("a", encoding="utf-8")

    def story(self, place: Place, one: Rollout) -> None:
        if place not in self.stories:
            self.stories[place] = one
            self._write(
                {
                    "story": place, "policy": one.policy, "tokens": _packed(one.tokens, "<i4"), "logprobs": _packed(one.logprobs, "<f4"),
                    "ended": one.ended, "text": one.text,
                }
            )  # fmt: skip

    def verdict(self, place: Place, one: Verdict) -> None:
        if place not in self.verdicts:
            self.verdicts[place] = one
            self._write({"judged": place, "rewards": dict(one.rewards), "notes": dict(one.notes)})

    def close(self) -> None:
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()

    def _read(self) -> None:
        for raw in whole_lines(self.path):
            try:
                self._take(json.loads(raw))
            except (ValueError, KeyError, TypeError):
                raise MendableError(
                    f"{self.path} holds a line that is no story: take the file away, and the step is written anew."
                ) from None

    def _take(self, line: dict[str, Any]) -> None:
        if "story" in line:
            task, number = line["story"]
            tokens, logprobs = _unpacked(line["tokens"], "<i4"), _unpacked(line["logprobs"], "<f4")
            if len(tokens) != len(logprobs):
                raise ValueError
            one = Rollout(
                tokens.astype(np.int32),
                logprobs.astype(np.float32),
                bool(line["ended"]),
                str(line["text"]),
                int(line["policy"]),
            )
            self.stories.setdefault((int(task), int(number)), one)
        else:
            task, number = line["judged"]
            rewards = {str(name): None if value is None else float(value) for name, value in line["rewards"].items()}
            notes = {str(name): float(value) for name, value in line["notes"].items()}
            self.verdicts.setdefault((int(task), int(number)), Verdict(rewards, notes))


def _packed(values: npt.NDArray[Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()


def _unpacked(text: str, kind: str) -> npt.NDArray[Any]:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=kind)
