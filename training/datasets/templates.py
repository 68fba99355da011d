"""A tokenizer's chat template: a conversation as text, where an answer begins in it, and how the template takes the answer's thinking.

An answer is what the template adds to the prompt for it. Where it renders the turns before an answer otherwise than in the prompt for that answer
(Qwen3 after another answer), or the prompt opens a thought that it takes out of messages (DeepSeek), the prompt counts: a model is given that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast

from training.common.errors import MendableError
from training.datasets.control_tokens import PLACEHOLDER, Placeholders
from training.datasets.jsonl import THINK, THINKING_FIELDS, THOUGHT, ChatMessage, ToolSchema
from training.datasets.sandbox import Endless, compile_template

Turn = dict[str, Any]
_QUESTION: Turn = {"role": "user", "content": "A story?"}
_ANSWER: Turn = {"role": "assistant", "content": "It rained."}


class Rendered(NamedTuple):
    """A conversation as text with placeholders. Its last answer begins at the character `start`."""

    text: str
    start: int


class ChatTemplate:
    """The chat template of a tokenizer. Raises MendableError if there is none, and for a conversation that it cannot render."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, source: Path) -> None:
        if not tokenizer.chat_template:
            raise MendableError(
                f"The tokenizer in {source} has no chat template, which conversations need: use that of an instruction-tuned model, "
                "or put a chat_template.jinja into the folder."
            )
        self._tokenizer, self._name = tokenizer, f"The chat template in {source}"
        self._check_end()
        self._beginning = str(tokenizer.bos_token) if adds_beginning(tokenizer) else ""

    def _check_end(self) -> None:
        """Raise MendableError for a template that goes on for ever: transformers does not bound it."""
        given = self._tokenizer.chat_template
        for source in given.values() if isinstance(given, dict) else [given]:
            for turns in ([_QUESTION], [_QUESTION, _ANSWER]):
                try:
                    compile_template(source)(
                        messages=turns, add_generation_prompt=len(turns) == 1, **self._tokenizer.special_tokens_map
                    )
                except Endless as error:
                    raise MendableError(
                        f"{self._name} does not end: {error}. Use a model with another template."
                    ) from None
                except Exception:  # noqa: BLE001, S110 - it is said when a conversation is rendered
                    pass

    def turns(self, messages: Sequence[ChatMessage], placeholders: Placeholders) -> list[Turn]:
        """Return messages as the template reads them, with placeholders for their texts."""
        return [self._turn(message, placeholders) for message in messages]

    def _turn(self, message: ChatMessage, placeholders: Placeholders) -> Turn:
        turn = message.model_dump(exclude={"reasoning_content", "weight"})
        thinking, text = message.parts
        tagged = thinking is not None and self._takes_thinking == "text"
        if thinking is not None and not tagged:
            text = text.lstrip()
        if message.tool_calls or message.role == "tool":
            turn = placeholders.replace_in(turn | {"content": text})
        else:
            turn["content"] = placeholders.around(text)
        if tagged:
            turn["content"] = f"{THINK}{placeholders.around(thinking or '')}{THOUGHT}{turn['content']}"
        elif thinking and thinking.strip():
            turn |= dict.fromkeys(THINKING_FIELDS, placeholders.new(thinking.strip()))
        return turn

    def render(self, turns: Sequence[Turn], tools: Sequence[Turn] = (), *, generate: bool = False) -> str:
        """Return a conversation as text; with `generate` up to where the assistant's next turn begins.

        The beginning-of-text token of a tokenizer that adds one is there once, whether the template writes it or not.
        """
        try:
            text = self._rendered(self._joined(turns), tools, generate=generate)
        except Exception as error:
            roles = ", ".join(str(turn["role"]) for turn in turns) or "none"
            raise MendableError(
                f"{self._name} refuses a conversation: {str(error).rstrip('.')}. Its roles are {roles}: change the conversation, or use a "
                "model whose template takes it."
            ) from error
        return text if text.startswith(self._beginning) else self._beginning + text

    def _rendered(self, turns: Sequence[Turn], tools: Sequence[Turn] = (), *, generate: bool = False) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                list(turns), tools=list(tools) or None, tokenize=False, add_generation_prompt=generate
            )
        )

    def answer(self, turns: Sequence[Turn], number: int, tools: Sequence[Turn] = ()) -> Rendered:
        """Return the conversation up to the turn `number`, which is an answer."""
        found = self._answer(turns, number, tools)
        turn = turns[number]
        texts = [turn.get(THINKING_FIELDS[0], ""), "" if turn.get("tool_calls") else turn["content"]]
        if any(one not in found.text[found.start :] for text in texts for one in PLACEHOLDER.findall(text)):
            raise MendableError(
                f"{self._name} leaves out a part of an answer, such as its thinking: take that part out of the data, or use a model "
                "whose template takes it."
            )
        return found

    def _answer(self, turns: Sequence[Turn], number: int, tools: Sequence[Turn]) -> Rendered:
        prompt = self.render(turns[:number], tools, generate=True)
        whole = self.render(turns[: number + 1], tools)
        turn = turns[number]
        thinking = turn.get(THINKING_FIELDS[0], "") if self._takes_thinking == "prompt" else ""
        if whole.startswith(prompt) and not thinking:
            return Rendered(whole, len(prompt))
        own = PLACEHOLDER.findall(turn.get(THINKING_FIELDS[0], "") + turn["content"])
        first = min((place for one in own if (place := whole.find(one)) >= 0), default=len(whole))
        if number and len(self._joined(turns[number - 1 : number + 1])) == 1:
            return Rendered(whole, first)  # the answer before goes on
        unopened = self._header.partition(THINK)[0]
        for header in (unopened,) if thinking else (self._header, unopened):
            place = whole.rfind(header, 0, first)
            if header and place >= 0 and prompt.endswith(self._header):
                rest = whole[place + len(header) :]
                if thinking:
                    return Rendered(f"{prompt}{thinking}\n{THOUGHT}\n\n{rest}", len(prompt))
                given = prompt.removesuffix(self._header) + header
                return Rendered(given + rest, len(given))
        raise MendableError(
            f"{self._name} renders an answer otherwise than its prompt begins it, so that what is learned would not be what the model "
            "is asked for: use a model with another template."
        )

    @cached_property
    def _header(self) -> str:
        """What a prompt ends with: the beginning of an answer, such as `<|im_start|>assistant`."""
        asked, prompt = (self.render([_QUESTION], generate=generate) for generate in (False, True))
        return prompt.removeprefix(asked) if prompt.startswith(asked) else ""

    @cached_property
    def _takes_thinking(self) -> Literal["field", "prompt", "text"]:
        """How an answer's thinking gets into the text: as a field of the message, behind a prompt that opens it, or with tags, as text."""
        mark = Placeholders().new("")
        if mark in self.render([_QUESTION, _ANSWER | dict.fromkeys(THINKING_FIELDS, mark)]):
            return "field"
        return "prompt" if self._header.rstrip().endswith(THINK) else "text"

    def _joined(self, turns: Sequence[Turn]) -> list[Turn]:
        """Join an answer to the one before it where the template refuses two (Gemma, Mistral): the text goes on."""
        found: list[Turn] = []
        for turn in turns:
            before = found[-1] if found else turn
            both = before is not turn and all(
                one["role"] == "assistant" and "tool_calls" not in one for one in (before, turn)
            )
            if both and self._alternates:
                found[-1] = turn | {"content": f"{before['content'].rstrip()}\n\n{turn['content'].lstrip()}"}
            else:
                found.append(turn)
        return found

    @cached_property
    def _alternates(self) -> bool:
        try:
            self._rendered([_QUESTION, _ANSWER, _ANSWER])
        except TemplateError:
            return True
        return False

    def check_tools(self, messages: Sequence[ChatMessage], tools: Sequence[ToolSchema]) -> None:
        """Raise MendableError for a template without tools: it leaves them out silently, and the model would learn to answer without them."""
        if not tools and not any(message.tool_calls or message.role == "tool" for message in messages):
            return
        turns, schemas, meanings = _with_meanings(messages, tools)
        rendered = self.render(turns, schemas)
        if lost := next((meaning for one, meaning in meanings.items() if one not in rendered), ""):
            raise MendableError(
                f"{self._name} leaves out {lost}: use a model whose template supports tools, or leave the "
                "conversations with tools out of the data."
            )

    @cached_property
    def writes_beginning(self) -> bool:
        """Whether a conversation begins with the tokenizer's beginning-of-text token. SmolLM2 names the token that begins each turn so."""
        token = self._tokenizer.bos_token
        text = self.render([_QUESTION, _ANSWER])
        return bool(token) and text.startswith(str(token)) and text.count(str(token)) == 1


def adds_beginning(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Return whether the tokenizer begins a text with a beginning-of-text token by itself."""
    return tokenizer.bos_token_id is not None and tokenizer("x")["input_ids"][:1] == [tokenizer.bos_token_id]


def beginning(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Return the token that a text begins with as the model knows texts, or nothing: the one that tokenizer or template puts there."""
    if adds_beginning(tokenizer):
        return [int(tokenizer.bos_token_id)]
    try:
        writes = bool(tokenizer.chat_template) and ChatTemplate(tokenizer, Path()).writes_beginning
    except MendableError:
        writes = False
    return [int(tokenizer.bos_token_id)] if writes else []


def _with_meanings(
    messages: Iterable[ChatMessage], tools: Iterable[ToolSchema]
) -> tuple[list[Turn], list[Turn], dict[str, str]]:
    """Return messages and tools with a placeholder for everything about tools that a template might leave out, and what each stands for."""
    placeholders = Placeholders()
    meanings: dict[str, str] = {}

    def placeholder(meaning: str) -> str:
        new = placeholders.new("")
        meanings[new] = meaning
        return new

    shown = []
    for message in messages:
        fields = message.model_dump(exclude={"reasoning_content", "weight"})
        if message.tool_calls and message.content.strip():
            fields["content"] = placeholder("the text of a message with a tool call")
        elif message.role == "tool":
            fields["content"] = placeholder("a tool's answer")
        for call in fields.get("tool_calls", ()):
            call["function"] = {
                "name": placeholder("tool calls"),
                "arguments": {"of": placeholder("the arguments of a tool call")},
            }
        shown.append(fields)
    schemas = [one.model_dump() for one in tools]
    for schema in schemas:
        schema["function"]["name"] = placeholder("the list of tools")
    return shown, schemas, meanings
