"""Converts the stream of a model to the text of the log: two channels, normalised white space, whole words.

`Splitter` splits the answer: `<think>` to `</think>` is planning, the rest is the story; `<answer>` tags around the
story (LongWriter-Zero's form) are removed. `Tidy` then normalises the text of one channel as docs/protocol.md requires, and holds
back what may still change: an incomplete word, and white space that nothing has followed yet. If the narrator dies, that text is
lost and sampled again.
"""

from __future__ import annotations

import regex

from training.common.text import storable
from writer.stories.log import plain_line_ends
from writer.stories.models import Channel

Pieces = list[tuple[Channel, str]]

_THINK, _THOUGHT, _ANSWER, _ANSWERED = "<think>", "</think>", "<answer>", "</answer>"
_HELD_TAIL = 48
"""A word longer than this (a URL, a language without spaces) is released in parts."""


class Splitter:
    """Split a stream into channels. Markers may arrive in pieces, and count only in places where a model puts them."""

    def __init__(self, *, thinking: bool, begun: bool) -> None:
        """`thinking`: the stream begins inside a think part. `begun`: the story has text, so no think part can begin."""
        self.thinking = thinking
        self.answered = False
        self._opening = not begun
        self._rest = ""

    def feed(self, text: str) -> Pieces:
        out: Pieces = []
        text = self._rest + text
        self._rest = ""
        while text:
            if self.answered:
                break
            if self.thinking:
                before, marker, after = text.partition(_THOUGHT)
                if not marker:
                    text, self._rest = _without_partial(text, _THOUGHT)
                    out.append((Channel.THINKING, text))
                    break
                out.append((Channel.THINKING, before))
                self.thinking, text = False, after
            elif self._opening:
                text = text.lstrip()
                if text.startswith(_THINK):
                    self.thinking, text = True, text.removeprefix(_THINK)
                elif text.startswith(_ANSWER):
                    text = text.removeprefix(_ANSWER)
                elif _THINK.startswith(text) or _ANSWER.startswith(text):
                    self._rest = text
                    break
                else:
                    self._opening = False
            else:
                before, marker, _ = text.partition(_ANSWERED)
                if not marker:
                    before, self._rest = _without_partial(text, _ANSWERED)
                self.answered = bool(marker)
                out.append((Channel.STORY, before))
                break
        return [(channel, piece) for channel, piece in out if piece]

    def end(self) -> Pieces:
        """The text that was held back as a possible marker."""
        rest, self._rest = self._rest, ""
        return [(Channel.THINKING if self.thinking else Channel.STORY, rest)] if rest else []


def _without_partial(text: str, marker: str) -> tuple[str, str]:
    """Split `text` before an end of it that may be the beginning of `marker`."""
    for size in range(min(len(marker) - 1, len(text)), 0, -1):
        if text.endswith(marker[:size]):
            return text[:-size], text[-size:]
    return text, ""


# One meaning of white space for Python, the browser and PostgreSQL: other line ends become \n, and U+FEFF, which is white
# space only in JavaScript, is removed.
_EXOTIC = regex.compile(r"[\x00\r\x0b\x0c\x1c-\x1f\x85\u2028\u2029\ufeff\ud800-\udfff]")
_BLANKS = regex.compile(r"\s+")
_LETTER = r"[[\p{L}\p{N}]--[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}]]"
_WORD_REST = regex.compile(rf"(?:{_LETTER}|\p{{M}})[\p{{L}}\p{{N}}\p{{M}}'’]*", regex.VERSION1)
_ENDS_IN_WORD = regex.compile(rf"{_LETTER}\p{{M}}*\Z", regex.VERSION1)
# A chunk ends where a word ends, so after these characters the sample continued with a blank.
_ENDS_BEFORE_BLANK = regex.compile(
    r"(?:[.!?,;:][»”“\"'’]*|[)\]}]|[\p{Extended_Pictographic}\p{Emoji_Modifier}\ufe0f])\Z"
)
_OPENING = "“‘«„(["
_WORD_BEGINS = regex.compile(rf"(?!\p{{N}}){_LETTER}", regex.VERSION1)
_END = 8
"""The number of last characters that show how a log ends."""
_LAST_STOP = regex.compile(r"(?r)[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}、。！？」』”…—](?=.)", regex.DOTALL)
_LAST_BREAK = regex.compile(r"(?r)[^\s\p{L}\p{N}\p{M}'’](?=[\p{L}\p{N}])")


def _squeeze(match: regex.Match[str]) -> str:
    breaks = match[0].count("\n")
    return match[0] if not breaks else "\n" if breaks == 1 else "\n\n"


class Tidy:
    """Make the text of a channel storable, and normalise its white space. `feed` returns text that ends where a word ends."""

    def __init__(self, before: str, *, blank_line_first: bool = False) -> None:
        """`before` is the channel's log so far; `blank_line_first`: it starts a new paragraph."""
        end = "" if blank_line_first else before[-_END:]
        self._inside_word = _ENDS_IN_WORD.search(end) is not None
        self._before_blank = _ENDS_BEFORE_BLANK.search(end) is not None
        self._blanks = "\n\n" if blank_line_first else None if before else ""
        # None: keep the next blanks. A string: replace them by this, since nothing has been written after them yet.
        self._held = ""
        self._pending_cr = ""

    def feed(self, text: str) -> str:
        if _EXOTIC.search(text) or self._pending_cr:
            text = self._pending_cr + text
            self._pending_cr = "\r" if text.endswith("\r") else ""  # perhaps half of \r\n
            text = storable(plain_line_ends(text.removesuffix("\r")).replace("\ufeff", ""))
        return self._release(self._clean(self._held + text))

    def end(self) -> str:
        """The last word, after the model has ended its turn, without the blanks after it."""
        text, self._held = self._held.rstrip(), ""
        return text

    def _clean(self, text: str) -> str:
        if self._inside_word and text:
            # The sample continues the last word of the log. A log is never changed, so this half is dropped.
            if half := _WORD_REST.match(text):
                text = text[half.end() :]
            self._inside_word = not text
        if self._before_blank and (word := text.lstrip(_OPENING)):
            self._before_blank = False
            if _WORD_BEGINS.match(word):
                text = " " + text
        if self._blanks is not None:
            text = text.lstrip()
            if not text:
                return ""
            text, self._blanks = self._blanks + text, None
        return _BLANKS.sub(_squeeze, text) if "\n" in text else text

    def _release(self, text: str) -> str:
        cut = len(text.rstrip())
        if cut == len(text):  # the last word may be incomplete
            blank = max(text.rfind(" "), text.rfind("\n"), text.rfind("\t"))
            cut = len(text[:blank].rstrip()) if blank > 0 else 0
            if stop := _LAST_STOP.search(text, cut):
                cut = stop.end()
            elif len(text) - cut > _HELD_TAIL:
                end = _LAST_BREAK.search(text, cut)
                cut = end.end() if end else len(text)
        self._held = text[cut:]
        return text[:cut]
