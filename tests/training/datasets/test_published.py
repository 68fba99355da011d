"""Published tokenizers and chat templates: what is learned is what the template writes and the model is given, and texts stay texts."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.families import WITHOUT_TOOLS
from tests.published import SOURCES, lay, tokenizer
from tests.training import models
from training.common.errors import MendableError
from training.common.records import Sample
from training.datasets.control_tokens import LiteralEncoder
from training.datasets.encoding import ChatEncoder, texts
from training.datasets.jsonl import ChatMessage, ToolSchema
from training.datasets.requests import read_requests
from workers.narrator.prompt import Prompter, Written

USER = ChatMessage(role="user", content="A story?")
STORY = "Anna saw the river.\n\nIt was dark."
TRAINING = {"llama-3": "llama3", "qwen3": "qwen3", "qwen3.5": "qwen3_5_think", "gemma-3": "gemma3", "gpt-oss": "gptoss", "deepseek-v3": "deepseekv3"}  # fmt: skip
"""The families of whose templates TRL has one that marks what is learned."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("published")


FAMILIES = sorted(SOURCES, key=lambda family: SOURCES[family].tokenizer)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def encoder(family: str, root: Path) -> ChatEncoder:
    folder = lay(family, root / family)
    return ChatEncoder(tokenizer(family, folder), folder)


def answer(content: str = STORY, **more: Any) -> ChatMessage:
    return ChatMessage.model_validate({"role": "assistant", "content": content, **more})


def text_of(encoder: ChatEncoder, tokens: Any) -> str:
    return str(encoder.tokenizer.decode([int(one) for one in tokens], clean_up_tokenization_spaces=False))


def learned(encoder: ChatEncoder, sample: Sample) -> str:
    return text_of(encoder, sample.tokens[sample.weights > 0])


def by_transformers(encoder: ChatEncoder, messages: list[ChatMessage], **how: Any) -> Any:
    return encoder.tokenizer.apply_chat_template([one.model_dump() for one in messages], return_dict=True, **how)


OPENS = {
    "qwen3": "<think>\n\n</think>\n\n",
    "qwen3.5": "</think>\n\n",
    "gpt-oss": "<|channel|>final<|message|>",
}
"""What stands before the text in an answer without thinking."""


@pytest.mark.table("answer")
def test_an_answer_is_the_templates(encoder: ChatEncoder, family: str) -> None:
    sample = encoder.encode([USER, answer()])
    expected = by_transformers(encoder, [USER, answer()])["input_ids"]
    tokens = sample.tokens.tolist()
    assert tokens == expected[: len(tokens)]
    assert not text_of(encoder, expected[len(tokens) :]).strip()
    end = SOURCES[family].end
    assert learned(encoder, sample).lstrip() in {f"{OPENS.get(family, '')}{STORY}{space}{end}" for space in ("", " ")}
    assert encoder.notes == []


@pytest.mark.table("answer")
def test_what_is_learned_follows_the_prompt(encoder: ChatEncoder, family: str) -> None:
    sample = encoder.encode([USER, answer()])
    given = sample.tokens[: int(sample.weights.argmax())].tolist()
    prompt = encoder.encode_prompt([USER])
    if family == "qwen3.5":  # an answer without thinking follows the prompt with thinking off
        prompt = by_transformers(encoder, [USER], add_generation_prompt=True, enable_thinking=False)["input_ids"]
        assert given == prompt[: len(given)]
    elif family == "deepseek-v3":  # whose prompt opens a thought
        assert text_of(encoder, prompt) == text_of(encoder, given) + "<think>\n"
    else:
        assert given == prompt


def test_what_is_learned_is_what_trl_learns(encoder: ChatEncoder, family: str) -> None:
    """TRL also learns the beginning of an answer that the prompt gives already, and what comes after its end."""
    if family not in TRAINING:
        pytest.skip("TRL has no such template")
    template = files("trl").joinpath("chat_templates", f"{TRAINING[family]}_training.jinja").read_text(encoding="utf-8")
    sample = encoder.encode([USER, answer()])
    theirs = by_transformers(encoder, [USER, answer()], chat_template=template, return_assistant_tokens_mask=True)
    size, begins = len(sample), int(sample.weights.argmax())
    assert theirs["input_ids"][:size] == sample.tokens.tolist()
    assert theirs["assistant_masks"][begins:size] == [1] * (size - begins)
    more = [one for one, learned in zip(theirs["input_ids"], theirs["assistant_masks"]) if learned][: -(size - begins)]
    assert len(more) <= 4, text_of(encoder, more)


THOUGHT = {
    "qwen3": f"<think>\nA lamp.\n</think>\n\n{STORY}<|im_end|>",
    "qwen3.5": f"A lamp.\n</think>\n\n{STORY}<|im_end|>",
    "gpt-oss": f"<|channel|>analysis<|message|>A lamp.<|end|><|start|>assistant<|channel|>final<|message|>{STORY}<|return|>",
    "deepseek-v3": f"A lamp.\n</think>\n\n{STORY}<｜end▁of▁sentence｜>",
}


@pytest.mark.table("thinking")
@pytest.mark.parametrize("where", ["reasoning_content", "thinking", "reasoning", "text"])
def test_thinking_is_the_models_own(encoder: ChatEncoder, family: str, where: str) -> None:
    text = f"<think>\nA lamp.\n</think>\n\n{STORY}"
    told = answer(text) if where == "text" else answer(**{where: "A lamp."})
    sample = encoder.encode([USER, told])
    end = SOURCES[family].end
    plain = {f"<think>\nA lamp.\n</think>\n\n{STORY}{space}{end}" for space in ("", " ")}
    assert learned(encoder, sample).lstrip() in ({THOUGHT[family]} if family in THOUGHT else plain)
    controls = encoder.tokenizer.convert_tokens_to_ids(["<think>", "</think>"])
    if family.startswith("qwen"):
        assert [one for one in sample.tokens.tolist() if one in controls] == controls


@pytest.mark.table("thinking")
def test_a_human_story_with_thinking_continues_the_prompt(encoder: ChatEncoder, family: str, tmp_path: Path) -> None:
    line = {"messages": [USER.model_dump(), answer().model_dump()], "thinking": "A lamp."}
    (request,) = read_requests(
        [models.write_lines(tmp_path / "data.jsonl", [line])], encoder, thinking="none", room=2048
    )
    assert request.human is not None
    assert tuple(request.human.tokens[: len(request.tokens)].tolist()) == request.tokens
    assert request.human.weights[len(request.tokens) :].all()
    assert request.human_answer == f"<think>\nA lamp.\n</think>\n{STORY}"
    if family in THOUGHT:
        assert learned(encoder, request.human) == THOUGHT[family]


@pytest.mark.table("turns")
def test_each_answer_is_learned_after_the_prompt_for_it(encoder: ChatEncoder, family: str) -> None:
    """The first answer has thinking, which some templates take out once another turn follows."""
    messages = [
        USER,
        answer(reasoning_content="A lamp."),
        ChatMessage(role="user", content="More?"),
        answer("It rained."),
    ]
    found = encoder.samples(messages)
    last = encoder.encode(messages, only_last=True)
    if family == "mistral":  # whose token for "]<" is divided only before an answer that is learned
        assert text_of(encoder, found[-1].tokens) == text_of(encoder, last.tokens)
    else:
        assert found[-1].tokens.tolist() == last.tokens.tolist()
    if len(found) == 1:
        assert STORY in learned(encoder, found[0])
    else:
        assert found[0].tokens.tolist() == encoder.encode(messages[:2]).tokens.tolist()
        assert "A lamp." not in text_of(encoder, last.tokens)
    assert "It rained." in learned(encoder, last)
    assert STORY not in learned(encoder, last)
    assert STORY in text_of(encoder, last.tokens)


def test_an_answer_that_goes_on_from_another(encoder: ChatEncoder) -> None:
    """As a mended passage of an imported text does, also for templates that refuse two answers."""
    last = encoder.encode([USER, answer("Anna saw the river."), answer("It was dark.")], only_last=True)
    assert "Anna saw the river." in text_of(encoder, last.tokens)
    assert "Anna" not in learned(encoder, last)
    assert "It was dark." in learned(encoder, last)


CALL = {"id": "abc123def", "type": "function", "function": {"name": "find_words", "arguments": {"query": "lamp"}}}
TOOLS = (ToolSchema.model_validate({"function": {"name": "find_words", "description": "Finds.", "parameters": {"type": "object", "properties": {}}}}),)  # fmt: skip


@pytest.mark.table("tools")
def test_tool_calls_are_the_templates_or_refused(encoder: ChatEncoder, family: str) -> None:
    call = answer("", tool_calls=[CALL])
    talk = [USER, call, ChatMessage(role="tool", content="Twice.", tool_call_id="abc123def"), answer()]
    if refusal := WITHOUT_TOOLS.get(family):
        with pytest.raises(MendableError, match=f"^{re.escape(refusal.format(encoder.source))}$"):
            encoder.samples(talk, tools=TOOLS)
        return
    for messages, text in ((talk[:2], "find_words"), (talk, STORY)):
        sample = encoder.encode(messages, tools=TOOLS, only_last=True)
        schemas = [one.model_dump() for one in TOOLS]
        assert sample.tokens.tolist() == by_transformers(encoder, messages, tools=schemas)["input_ids"][: len(sample)]
        assert text in learned(encoder, sample)
        assert "Twice" not in learned(encoder, sample)
        assert sample.tokens[-1] in encoder.special


def test_control_tokens_in_a_text_stay_text(encoder: ChatEncoder) -> None:
    literal = LiteralEncoder(encoder.tokenizer.backend_tokenizer, encoder.source)
    names = sorted(set(literal.controls.values()))
    assert set(encoder.tokenizer.all_special_tokens) <= set(names)
    for name in (*names[:40], *names[-40:], *encoder.tokenizer.all_special_tokens):
        text = f"{name} He typed {name}{name}, then <{name}."
        tokens = literal(text)
        assert not literal.controls.keys() & set(tokens)
        assert text_of(encoder, tokens) == text


def test_control_tokens_in_a_conversation_stay_text(encoder: ChatEncoder) -> None:
    plain = encoder.encode([USER, answer(reasoning_content="A lamp.")])
    controls = LiteralEncoder(encoder.tokenizer.backend_tokenizer, encoder.source).controls
    for name in encoder.tokenizer.all_special_tokens:
        spelled = f"so {name}{name} it is"
        sample = encoder.encode([ChatMessage(role="user", content=spelled), answer(spelled, reasoning_content=spelled)])
        assert [one for one in sample.tokens.tolist() if one in controls] == [
            one for one in plain.tokens.tolist() if one in controls
        ]
        assert text_of(encoder, sample.tokens).count(spelled) == 3


@pytest.mark.table("answer")
def test_texts_and_conversations_begin_once(encoder: ChatEncoder, family: str, tmp_path: Path) -> None:
    begins = encoder.tokenizer.bos_token_id if family not in ("gpt-oss", "smollm2") else None
    line = {"text": f"{STORY} {encoder.tokenizer.bos_token}"}
    ((sample,),) = texts([models.write_lines(tmp_path / "text.jsonl", [line])], encoder.tokenizer, 2048)
    talk = encoder.encode([USER, answer(), USER, answer()], only_last=True)
    assert sample.tokens[-1] == encoder.end
    in_text = sample.tokens.tolist()
    for one in (in_text, talk.tokens.tolist()):
        if begins is None:  # SmolLM2 names the token so that begins each turn
            assert encoder.tokenizer.bos_token_id not in one or (family == "smollm2" and one is not in_text)
        else:
            assert one[0] == begins
            assert one.count(begins) == 1 or family == "llama-2"  # which begins each turn of the user so
    assert sample.tokens.tolist().count(begins) == (begins is not None)


def test_a_story_has_the_tokens_that_it_has_alone(encoder: ChatEncoder) -> None:
    """Gemma's blank lines are added tokens, and no control tokens."""
    text = "It rained.\n\n\n* * *\n\n“Oh,” she said.\tAnd   so on: 孔乙己, naïve 🙂."
    alone = encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert LiteralEncoder(encoder.tokenizer.backend_tokenizer, encoder.source)(text) == alone


def test_the_narrator_sends_what_is_learned(encoder: ChatEncoder, family: str) -> None:
    """For the tokenizers whose pieces differ from the whole: Gemma's blank lines, Llama 2's spaces."""
    if family not in ("gemma-3", "llama-2"):
        pytest.skip("the tests of the narrator have tokenizers of this kind")
    prompter = Prompter(str(encoder.source))
    note: Any = {"role": "user", "content": "Go on."}
    for text in ("A story?\n\nOf a lamp.\n\n\n* * *", "He typed <eos>, </s> and <end_of_turn>."):
        sent = prompter.build([{"role": "user", "content": text}], Written(), 4096, note).tokens
        assert sent == encoder.encode_prompt([ChatMessage(role="user", content=text)])
    assert prompter.plain(STORY) == encoder.tokenizer(STORY, add_special_tokens=False)["input_ids"]
