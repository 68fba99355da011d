"""The dump of a step: what is on disk is what was written, and nothing counts twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from training.common.errors import MendableError
from training.rewards.records import StoryScore
from training.rollouts.records import Dump, Rollout


def story(number: int, words: str = "It rained. 雨") -> Rollout:
    return Rollout(
        np.arange(number, number + 3, dtype=np.int32), np.asarray([-0.1, np.nan, -2.5], np.float32), True, words, 7
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    dump = Dump(tmp_path / "rollouts" / "step-00001.jsonl")
    dump.add_story((0, 1), story(5))
    dump.add_score((0, 1), StoryScore({"quality": None, "length": 0.25}, {"words": 3.0}))
    dump.add_score((0, -1), StoryScore({"quality": 0.5, "length": 0.0}))
    dump.close()
    found = Dump(dump.path)
    found.close()
    assert found.stories.keys() == {(0, 1)}
    one = found.stories[0, 1]
    assert one.tokens.tolist() == [5, 6, 7]
    np.testing.assert_array_equal(one.logprobs, story(5).logprobs)
    assert (one.ended, one.text, one.policy) == (True, "It rained. 雨", 7)
    assert found.scores == {
        (0, 1): StoryScore({"quality": None, "length": 0.25}, {"words": 3.0}),
        (0, -1): StoryScore({"quality": 0.5, "length": 0.0}),
    }


def test_the_first_counts(tmp_path: Path) -> None:
    dump = Dump(tmp_path / "step.jsonl")
    for number in (1, 2):
        dump.add_story((0, 0), story(number))
        dump.add_score((0, 0), StoryScore({"length": float(number)}))
    dump.close()
    again = Dump(dump.path)
    again.add_story((0, 0), story(3))
    again.close()
    assert dump.path.read_text().count("\n") == 2
    assert again.stories[0, 0].tokens.tolist() == [1, 2, 3]
    assert again.scores[0, 0].rewards == {"length": 1.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_what_is_no_number_is_absent_when_it_is_written_and_when_it_is_read(tmp_path: Path, value: float) -> None:
    dump = Dump(tmp_path / "step.jsonl")
    dump.add_score((0, 0), StoryScore({"length": value}))
    dump.close()
    assert json.loads(dump.path.read_text())["rewards"] == {"length": None}
    line = {"judged": [0, 1], "rewards": {"length": value}, "notes": {"words": value, "more": 1.0}}
    dump.path.write_text(json.dumps(line) + "\n")  # as earlier versions wrote it
    again = Dump(dump.path)
    again.close()
    assert again.scores[0, 1].rewards == {"length": None}
    assert again.scores[0, 1].notes["more"] == 1.0


def test_a_line_that_a_kill_cut_short_is_taken_out(tmp_path: Path) -> None:
    dump = Dump(tmp_path / "step.jsonl")
    dump.add_story((0, 0), story(1))
    dump.add_story((0, 1), story(2))
    dump.close()
    whole = dump.path.read_bytes()
    dump.path.write_bytes(whole[:-20])
    again = Dump(dump.path)
    assert again.stories.keys() == {(0, 0)}
    again.add_story((0, 1), story(2))
    again.close()
    assert dump.path.read_bytes() == whole


@pytest.mark.parametrize(
    "line",
    ["no JSON", "{}", '{"story": [0], "tokens": ""}', '{"judged": [0, 0], "rewards": {"length": "much"}, "notes": {}}'],
)
def test_a_line_that_is_no_story_is_said(tmp_path: Path, line: str) -> None:
    (tmp_path / "step.jsonl").write_text(line + "\n")
    with pytest.raises(MendableError, match="holds a line that is no story"):
        Dump(tmp_path / "step.jsonl")
