"""Prompts as token ids: the chat template may contain control tokens, people's texts may not.

The template is rendered around placeholders. Its own parts are encoded with control tokens, the contents without
(`training.datasets.control_tokens`), as in training. Tokenizer and template are read as files; no code of a model's folder is run.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError
from tokenizers import Tokenizer

from training.common.errors import MendableError, one_line
from training.common.text import SENTENCE_END, Message, last_sentence_start
from training.datasets.control_tokens import LiteralEncoder
from training.datasets.sandbox import compile_template

_PLACE = "longhand7d1f0c5e{}e5c0f1d7"
_THINK, _THOUGHT = "<think>\n", "\n</think>\n\n"


class UnusableModel(Exception):
    """The tokenizer or the chat template cannot be used; the message says why, for the person who runs the site."""


def _file(place: str, name: str) -> Path | None:
    if Path(place).is_dir():
        path = Path(place) / name
        return path if path.exists() else None
    cached = try_to_load_from_cache(place, name)
    if isinstance(cached, str):  # the hub is not asked again: it may be out of reach
        return Path(cached)
    try:
        return Path(hf_hub_download(place, name))
    except EntryNotFoundError:
        return None


@dataclass(frozen=True)
class Written:
    """The assistant's turn so far."""

    text: str = ""
    thinking: str = ""
    inside_thinking: bool = False
    new_paragraph: bool = False


class CachedStory:
    """The story in the tokens that are in the model server's prefix cache: those that were sent, and those that it sampled.

    Encoding the same text again may give other tokens, and the cache cannot be used from the first different token on.
    """

    def __init__(self, begin: int, text: str, tokens: list[int]) -> None:
        """`text` is the story from character `begin` on."""
        self.begin = begin
        self._text: list[str] = []
        self._tokens, self._ends = array("I"), array("I")
        self._size = 0
        self._open = True
        self.add(text, tokens)

    def add(self, text: str, tokens: list[int]) -> None:
        """Add what the model wrote next. After text without tokens, nothing more is added."""
        self._open = self._open and (bool(tokens) or not text)
        if self._open and tokens:
            self._text.append(text)
            self._tokens.extend(tokens)
            self._ends.extend([self._size] * (len(tokens) - 1))
            self._size += len(text)
            self._ends.append(self._size)

    def close(self) -> None:
        """Add nothing more: what the model writes next does not directly follow this text."""
        self._open = False

    def beginning_of(self, text: str) -> tuple[list[int], int]:
        """The cached tokens with which `text` begins, and the number of characters that they cover."""
        said = "".join(self._text)
        self._text = [said]
        differs = bisect_right(self._ends, 0, key=lambda end: not text.startswith(said[:end]))
        if not differs or not (size := self._ends[differs - 1]):
            return [], 0
        count = bisect_left(self._ends, size) + 1  # later tokens are half a character, or end the turn
        return self._tokens[:count].tolist(), size


@dataclass(frozen=True)
class Prompt:
    tokens: list[int]
    room: int
    """Tokens that the context leaves for the answer."""
    inside_thinking: bool
    """Whether the answer begins inside a think part."""
    cached: CachedStory | None
    """The story in the prompt; None while the model is planning."""


class Prompter:
    """The tokenizer and the chat template of one model."""

    def __init__(self, place: str, *, thinking: bool = False) -> None:
        """`place` is a folder or a name on the Hugging Face hub. `thinking` is passed to the template as `enable_thinking`."""
        try:
            vocabulary = _file(place, "tokenizer.json")
            settings = _file(place, "tokenizer_config.json")
            template = _file(place, "chat_template.jinja")
        except OSError as error:
            raise UnusableModel(f"The tokenizer of {place} cannot be read: {error}") from error
        if vocabulary is None:
            raise UnusableModel(f"{place} has no tokenizer.json.")
        self._config: dict[str, Any] = json.loads(settings.read_text()) if settings else {}
        source = template.read_text() if template else self._config.get("chat_template")
        if not isinstance(source, str):
            raise UnusableModel(f"{place} has no chat template.")
        self._tokenizer = Tokenizer.from_file(str(vocabulary))
        try:
            self._encode = LiteralEncoder(self._tokenizer, place)
            self._added = set(self._encode.controls)
        except MendableError as error:
            raise UnusableModel(str(error)) from error
        begins = self._tokenizer.encode("x").tokens[:1]
        self._beginning = begins[0] if begins == [self._token("bos_token")] else ""
        self._thinking = thinking
        self._template = compile_template(source)
        self._frames: dict[tuple[str, ...], list[str]] = {}
        self.opens_thinking = self._frame([{"role": "user", "content": "x"}])[-1].rstrip().endswith("<think>")
        self.stop_ids = self._stop_ids()

    def build(
        self,
        request: list[Message],
        written: Written,
        context: int,
        note: Message,
        *,
        landing: bool = False,
        answer: int = 0,
        cached: CachedStory | None = None,
    ) -> Prompt:
        """The prompt, with as much of the latest text as leaves room for `answer` tokens, or for a third of the context.

        The model server caches prompts, so that only the new part costs time. Therefore the `note` on the length comes near the
        end, before the last sentence. It is added when the story is to land, or when not all of it fits.
        `cached` is the story of the last prompt, with the answer to it.
        """
        head = self._encode_request(request)
        least = min(context // 3, answer or context)
        space = context - len(head) - least - 8
        if space < 64:
            # A premise that fills the context: leave out its middle instead of refusing the story.
            head = head[: context // 4] + head[-context // 4 :]
            space = context - len(head) - least - 8
        tokens = list(head)
        if self.opens_thinking:
            opened, inside = True, written.inside_thinking or not (written.text or written.thinking)
        else:
            opened, inside = False, written.inside_thinking
        if inside or written.thinking:
            thought, begin = self._latest(written.thinking, space if inside else space // 2)
            if inside or not written.thinking or begin == 0:
                if not opened:
                    tokens += self._control(_THINK)
                tokens += thought
                if not inside:
                    tokens += self._control(_THOUGHT)
            elif opened:
                tokens += self._control(_THOUGHT)
        elif opened:
            tokens += self._control(_THOUGHT)
        if inside:
            return Prompt(tokens, context - len(tokens), inside, None)
        room = max(space - (len(tokens) - len(head)), 64)
        text = written.text.rstrip() + ("\n\n" if written.new_paragraph else "") if written.text else ""
        ids, begin = self._fitting(text, room, cached)
        place = last_sentence_start(text)
        if place and (landing or begin):
            end = self._turn(request, note) + self.plain(text[place:])[-room // 2 :]
            text = text[:place].rstrip()
            ids, begin = self._fitting(text, max(room - len(end), 16), cached)
            cached = CachedStory(begin, text[begin:], ids)
            cached.close()
            tokens += ids + end
        else:
            cached = CachedStory(begin, text[begin:], ids)
            tokens += ids
        return Prompt(tokens, context - len(tokens), inside, cached)

    def plain(self, text: str) -> list[int]:
        """Encode text without control tokens."""
        return self._plain_with_offsets(text)[0]

    def decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=False))

    def _plain_with_offsets(self, text: str) -> tuple[list[int], list[int]]:
        return self._encode.with_starts(text, bytearray(b"\1") * len(text))

    def _fitting(self, text: str, room: int, cached: CachedStory | None) -> tuple[list[int], int]:
        """The tokens of the end of `text` that fits, cached ones where possible, and the character at which it begins."""
        if cached is not None and 0 <= cached.begin < len(text):
            tokens, size = cached.beginning_of(text[cached.begin :])
            if size:
                tokens += self.plain(text[cached.begin + size :])
                if len(tokens) <= room:
                    return tokens, cached.begin
        return self._latest(text, room)

    def _latest(self, text: str, room: int) -> tuple[list[int], int]:
        """The tokens of the end of `text` that fits, from the start of a paragraph or sentence, and where it begins."""
        tail = text[-8 * room :]
        tokens, starts = self._plain_with_offsets(tail)
        if len(tail) == len(text) and len(tokens) <= room:
            return tokens, 0
        first = starts[max(len(tokens) - room, 0)]
        late = first + (len(tail) - first) // 4
        cut = next(
            (
                match.end()
                for pattern in (r"\n\n", SENTENCE_END, r"\s")
                if (match := regex.compile(pattern).search(tail, first, late))
            ),
            first,
        )
        return self.plain(tail[cut:])[-room:], len(text) - len(tail) + cut

    def _encode_request(self, messages: list[Message]) -> list[int]:
        frame = self._frame(messages)
        if not frame[0].startswith(self._beginning):
            frame = [self._beginning + frame[0], *frame[1:]]
        return self._framed(frame, messages)

    def _turn(self, request: list[Message], note: Message) -> list[int]:
        """The end of the assistant's first turn, the note, and the beginning of its second."""
        frame = self._frame([*request, {"role": "assistant", "content": ""}, note])[-2:]
        return self._framed(frame, [note]) + (self._control(_THOUGHT) if self.opens_thinking else [])

    def _framed(self, frame: list[str], messages: list[Message]) -> list[int]:
        """Encode the parts of the template with the contents between them, as one text."""
        text, literal = frame[0], bytearray(len(frame[0]))
        for message, after in zip(messages, frame[1:], strict=True):
            text += message["content"] + after
            literal += b"\1" * len(message["content"]) + b"\0" * len(after)
        return self._encode.with_starts(text, literal)[0]

    def _control(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _frame(self, messages: list[Message]) -> list[str]:
        """The parts of the rendered template before, between and after the contents."""
        roles = tuple(message["role"] for message in messages)
        if roles not in self._frames:
            places = [_PLACE.format(index) for index in range(len(roles))]
            try:
                rendered = self._template(
                    messages=[{"role": role, "content": place} for role, place in zip(roles, places, strict=True)],
                    add_generation_prompt=True,
                    enable_thinking=self._thinking,
                    **{name: self._token(name) for name in ("bos_token", "eos_token", "unk_token", "pad_token")},
                )
            except Exception as error:  # a template is a program, which may raise anything
                raise UnusableModel(f"The model's chat template fails: {one_line(error)}") from error
            parts = regex.split("|".join(places), rendered)
            if len(parts) != len(places) + 1:
                raise UnusableModel("The model's chat template does not use each message once.")
            self._frames[roles] = parts
        return self._frames[roles]

    def _token(self, name: str) -> str:
        token = self._config.get(name)
        return str(token.get("content", "") if isinstance(token, dict) else token or "")

    def _stop_ids(self) -> list[int]:
        """Tokens that end the turn: the end-of-sequence token, and the one that the template puts after a message."""
        names = {self._token("eos_token"), "<|im_end|>", "<|eot_id|>", "<end_of_turn>"}
        return sorted({token for name in names if name and (token := self._tokenizer.token_to_id(name)) is not None})
