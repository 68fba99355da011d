"""The records that are passed between the rollout server, the rewards and the learner, and the dump that stores them.

    Request -> Rollout (tokens as the server sampled them) -> StoryScore (its rewards) -> Group (which the learner learns from)

`rollouts/step-00012.jsonl` has a line for each story as soon as it is written, and another when it is scored:

    {"story": [3, 1], "policy": 12, "tokens": "...", "logprobs": "...", "ended": true, "text": "..."}
    {"judged": [3, 1], "rewards": {"quality": 0.31, "length": 0.0}, "notes": {}}

[3, 1] is the second story of the step's fourth request; tokens and log-probabilities are int32 and float32, little-endian, in base64. If there are several
lines for a story, the first counts, so that the learner and a replay always use the same one.
"""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from training.common.append_only import whole_lines
from training.common.errors import MendableError
from training.rewards.combine import usable
from training.rewards.records import StoryScore

Place = tuple[int, int]
"""The number of a request within its step, and of a story within its group."""
HUMAN = -1
"""The number of the human story within its group."""
Tokens = npt.NDArray[np.int32]
Logprobs = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Rollout:
    """An answer of the policy. `tokens` are those of the answer, including its end token if it has one."""

    tokens: Tokens
    logprobs: Logprobs
    """The log-probability of each token when it was sampled."""
    ended: bool
    """Whether the policy ended it; otherwise it was cut."""
    text: str
    """The whole answer: what the chat template begins it with, such as "<think>", and what the policy wrote."""
    policy: int
    """The number of updates of the policy that wrote it."""


class Dump:
    """The stories of one step on disk. Only complete lines are read: one that was cut short by a kill is removed."""

    def __init__(self, path: Path) -> None:
        """Read the dump. Raises MendableError if the file is invalid."""
        self.stories: dict[Place, Rollout] = {}
        self.scores: dict[Place, StoryScore] = {}
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            self._read()
        self._file = path.open("a", encoding="utf-8")

    def add_story(self, place: Place, one: Rollout) -> None:
        if place not in self.stories:
            self.stories[place] = one
            self._write(
                {
                    "story": place, "policy": one.policy, "tokens": _packed(one.tokens, "<i4"), "logprobs": _packed(one.logprobs, "<f4"),
                    "ended": one.ended, "text": one.text,
                }
            )  # fmt: skip

    def add_score(self, place: Place, one: StoryScore) -> None:
        if place not in self.scores:
            self.scores[place] = one
            rewards = {name: _usable(value) for name, value in one.rewards.items()}
            self._write({"judged": place, "rewards": rewards, "notes": dict(one.notes)})

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
                    f"{self.path} holds a line that is no story: remove the file, and the step is written again."
                ) from None

    def _take(self, line: dict[str, Any]) -> None:
        if "story" in line:
            request, number = line["story"]
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
            self.stories.setdefault((int(request), int(number)), one)
        else:
            request, number = line["judged"]
            rewards = {str(name): _usable(value) for name, value in line["rewards"].items()}
            notes = {str(name): float(value) for name, value in line["notes"].items() if math.isfinite(value)}
            self.scores.setdefault((int(request), int(number)), StoryScore(rewards, notes))


def _usable(value: float | None) -> float | None:
    """A reward of a dump; None for one that is not a finite number: the step would fail again at each restart."""
    return float(value) if value is not None and usable(value) else None


def step_name(step: int) -> str:
    """The name of the step's dump, without the suffix."""
    return f"step-{step:05}"


def read_dump(folder: Path, step: int) -> Dump | None:
    """The dump of a finished step; None if there is none."""
    path = folder / f"{step_name(step)}.jsonl"
    if not path.is_file():
        return None
    dump = Dump(path)
    dump.close()
    return dump


def _packed(values: npt.NDArray[Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()


def _unpacked(text: str, kind: str) -> npt.NDArray[Any]:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=kind)
