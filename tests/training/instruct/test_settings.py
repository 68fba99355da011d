"""Settings files with names that have changed since are read as before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training.common.errors import MendableError
from training.config.settings import Settings, read_settings
from training.constitution.settings import PairsSettings, ViolationsSettings
from training.instruct.data_settings import ReferencesSettings, ToolsSettings
from training.instruct.settings import BacktranslateSettings

TEACHER = {"url": "http://teacher", "model": "x"}
RENAMED: list[tuple[type[Settings], dict[str, Any], dict[str, Any]]] = [
    (
        BacktranslateSettings,
        {"most_texts": 9, "least_words": 50, "words": 300, "most_words": 3000, "most_answer": 2000, "least_score": 4, "keep_most": 5, "most_alike": 0.6},
        {"max_texts": 9, "min_words": 50, "passage_words": 300, "max_words": 3000, "max_answer_tokens": 2000, "min_score": 4, "keep_max": 5, "max_similarity": 0.6},
    ),
    (
        ReferencesSettings,
        {"unhelpful": 0.3, "least_similarity": 0.2, "most_similarity": 0.7, "unfit_similarity": 0.05, "least_words": 30},
        {"irrelevant_share": 0.3, "min_similarity": 0.2, "max_similarity": 0.7, "irrelevant_similarity": 0.05, "min_words": 30},
    ),
    (
        ToolsSettings,
        {"two": 0.3, "refused": 0.2, "no_tool": 0.1, "most_shown": 5, "most_chapters": 4, "most_answer": 500},
        {"two_calls_share": 0.3, "error_share": 0.2, "no_tool_share": 0.1, "max_tools": 5, "max_chapters": 4, "max_answer_tokens": 500},
    ),
    (
        ViolationsSettings,
        {"most_texts": 9, "words": 500, "most_before": 1000, "shown": 12, "most_changed": 0.3, "most_length": 1.5, "most_answer": 1000},
        {"max_texts": 9, "passage_words": 500, "max_before": 1000, "principles_per_question": 12, "max_changed_share": 0.3, "max_length_ratio": 1.5, "max_answer_tokens": 1000},
    ),
    (PairsSettings, {"repeats": 3}, {"max_repeats": 3}),
]  # fmt: skip


def of_stage(kind: type[Settings], values: dict[str, Any], path: Path) -> Settings:
    given = {"run_dir": "run", "data": ["x.jsonl"], "constitution": "c.toml", "corpus": ["y.jsonl"], "teacher": TEACHER}
    path.write_text(json.dumps({name: one for name, one in given.items() if name in kind.model_fields} | values))
    return read_settings(path, kind)


@pytest.mark.parametrize(("kind", "before", "now"), RENAMED, ids=lambda one: getattr(one, "__name__", ""))
def test_old_names_are_read(kind: type[Settings], before: dict[str, Any], now: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    assert of_stage(kind, before, path) == of_stage(kind, now, path)
    assert of_stage(kind, now, path).model_dump(include=set(now)) == now
    assert len(before) == len(now)
    with pytest.raises(MendableError, match="Extra inputs"):
        of_stage(kind, before | now, path)
