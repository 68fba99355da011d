"""Requests as tokens, the length they ask for, and human stories in the form of the policy's."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training import models
from training.common.errors import MendableError
from training.datasets.encoding import ChatEncoder
from training.datasets.requests import Request, read_requests
from training.learner.models import load_tokenizer
from training.rollouts.rows import policy_sample


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> ChatEncoder:
    folder = models.save(models.random_model("qwen3"), tmp_path_factory.mktemp("model"))
    return ChatEncoder(load_tokenizer(folder), folder)


def read(
    folder: Path, encoder: ChatEncoder, *lines: dict[str, Any], thinking: str = "none", room: int = 2048
) -> list[Request]:
    return read_requests(
        [models.write_lines(folder / "data.jsonl", list(lines))], encoder, thinking=thinking, room=room
    )


def said(text: str, answer: str = "") -> dict[str, Any]:
    answered = [{"role": "assistant", "content": answer}] if answer else []
    return {"messages": [{"role": "user", "content": text}, *answered]}


def text_of(encoder: ChatEncoder, tokens: Any) -> str:
    return str(encoder.tokenizer.decode(list(tokens)))


def test_a_request_alone(tmp_path: Path, encoder: ChatEncoder) -> None:
    (request,) = read(tmp_path, encoder, said("Write about a lamp."))
    assert (
        text_of(encoder, request.tokens) == "<|im_start|>user\nWrite about a lamp.<|im_end|>\n<|im_start|>assistant\n"
    )
    assert (request.target, request.human) == (None, None)


def test_with_a_human_story(tmp_path: Path, encoder: ChatEncoder) -> None:
    (request,) = read(tmp_path, encoder, said("Write.", "The lamp was lit."))
    assert request.human is not None
    assert (
        tuple(request.human.tokens[: len(request.tokens)].tolist()) == request.tokens
    )  # begins where the policy's stories begin
    learned = request.human.tokens[request.human.weights > 0]
    assert text_of(encoder, learned) == "The lamp was lit.<|im_end|>"
    assert learned[-1] == encoder.end


@pytest.mark.parametrize(
    ("line", "target"),
    [
        (said("Write. It should be approximately 900 words long."), 900),
        (said("Not 5 words long, but 1,200 words long."), 1200),
        (said("Write 900 words."), 900),
        (said("A 2,000-word story."), 2000),
        (said("写一篇两千字的小说"), 2000),
        (said("Write."), None),
        (said("Write 900 words long prose.") | {"target": 700}, 700),
    ],
)
def test_the_length_that_is_asked_for(
    tmp_path: Path, encoder: ChatEncoder, line: dict[str, Any], target: int | None
) -> None:
    assert read(tmp_path, encoder, line)[0].target == target


def test_thinking_before_the_answer(tmp_path: Path, encoder: ChatEncoder) -> None:
    line = said("Write.", "The lamp was lit.") | {"thinking": "A lamp, then."}
    (request,) = read(tmp_path, encoder, line, thinking="think")
    assert request.human_answer == "<think>\nA lamp, then.\n</think>\n<answer>\nThe lamp was lit.\n</answer>"
    assert request.prompt[0]["role"] == "system"
    assert "<think>" in text_of(encoder, request.tokens)
    (direct,) = read(tmp_path, encoder, line, thinking="direct")
    assert direct.human_answer == "<answer>\nThe lamp was lit.\n</answer>"
    (plain,) = read(tmp_path, encoder, line)
    assert plain.human_answer == "<think>\nA lamp, then.\n</think>\nThe lamp was lit."  # POLARIS' form


def test_a_request_without_a_length_is_refused_where_a_reward_needs_one(tmp_path: Path, encoder: ChatEncoder) -> None:
    path = models.write_lines(
        tmp_path / "data.jsonl", [said("About 900 words."), said("Write.") | {"target": 50}, said("Write.")]
    )
    with pytest.raises(MendableError, match=r"line 3: The request names no length, and the reward length"):
        read_requests([path], encoder, thinking="none", room=2048, needs_target="length")


@pytest.mark.parametrize(
    ("end", "thinking", "begun", "thinks"),
    [
        ("", "think", "", True),
        ("<think>\n", "think", "<think>\n", True),
        ("<think>\n", "none", "<think>\n", True),
        ("<think>\n\n</think>\n\n", "none", "<think>\n\n</think>\n\n", False),
        ("", "direct", "", False),
    ],
)
def test_what_the_template_writes_of_the_answer(
    tmp_path: Path, encoder: ChatEncoder, end: str, thinking: str, begun: str, thinks: bool
) -> None:
    tokenizer = copy.deepcopy(encoder.tokenizer)
    tokenizer.chat_template = (
        "{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{%- endfor %}"
        "{%- if add_generation_prompt %}<|im_start|>assistant\n{{ '" + repr(end)[1:-1] + "' }}{%- endif %}"
    )
    opened = ChatEncoder(tokenizer, encoder.source)
    (request,) = read(tmp_path, opened, said("Say <think>"), thinking=thinking)
    assert (request.begun, request.thinks) == (begun, thinks)


def test_thinking_in_the_human_story_itself(tmp_path: Path, encoder: ChatEncoder) -> None:
    """It is parted from the answer, wherever it stands, and left out where the policy does not think."""
    inside = said("Write.", "<think>\nA lamp, then.\n</think>\n\nThe lamp was lit.")
    beside = said("Write.", "The lamp was lit.")
    beside["messages"][1]["reasoning_content"] = "A lamp, then."
    for line in (inside, beside):
        (plain,) = read(tmp_path, encoder, line)
        assert plain.human_answer == "<think>\nA lamp, then.\n</think>\nThe lamp was lit."
        (tagged,) = read(tmp_path, encoder, line, thinking="think")
        assert tagged.human_answer == "<think>\nA lamp, then.\n</think>\n<answer>\nThe lamp was lit.\n</answer>"
        (direct,) = read(tmp_path, encoder, line, thinking="direct")
        assert direct.human_answer == "<answer>\nThe lamp was lit.\n</answer>"


def test_a_human_story_with_weight_0_or_without_text(tmp_path: Path, encoder: ChatEncoder) -> None:
    line = said("Write.", "The lamp was lit.")
    line["messages"][1]["weight"] = 0
    (request,) = read(tmp_path, encoder, line)
    assert (request.human, request.human_answer) == (None, "")
    for nothing in (" \n", "<think>\n\n</think>\n", "<|im_end|>"):
        with pytest.raises(MendableError, match=r"line 2: nothing to learn: the human answer has no text"):
            read(tmp_path, encoder, said("Write."), said("Write.", nothing))


def test_a_longer_human_story_is_cut(tmp_path: Path, encoder: ChatEncoder) -> None:
    (request,) = read(tmp_path, encoder, said("Write.", "The lamp was lit. " * 50), room=64)
    assert request.human is not None
    assert len(request.human) == 64


def test_what_is_written_is_never_a_control_token(tmp_path: Path, encoder: ChatEncoder) -> None:
    (request,) = read(tmp_path, encoder, said("Write <|im_end|> now."))
    assert list(request.tokens).count(encoder.end) == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (said("Write. " * 500), "there is no room for an answer"),
        ({"messages": [{"role": "assistant", "content": "So."}]}, "no message asks for anything"),
        ({"messages": []}, "is not a request"),
        (said("Write.") | {"target": -1}, "target"),
    ],
)
def test_bad_lines_are_said(tmp_path: Path, encoder: ChatEncoder, line: dict[str, Any], says: str) -> None:
    with pytest.raises(MendableError, match=says) as wrong:
        read(tmp_path, encoder, said("Write."), line, room=256)
    assert "line 2" in str(wrong.value)


def test_rows(tmp_path: Path, encoder: ChatEncoder) -> None:
    (request,) = read(tmp_path, encoder, said("Write."))
    sample = policy_sample(request, np.asarray([7, 8], np.int32), -0.5)
    assert sample.tokens.tolist() == [*request.tokens, 7, 8]
    assert sample.weights.tolist() == [0.0] * len(request.tokens) + [-0.5, -0.5]
