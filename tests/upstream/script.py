"""What the scripted upstream writes: numbered words, so that a lost or a doubled one is seen.

    W1 W2 ... W12. W13 ... W60.⏎⏎W61 ...

A sentence has 12 words, a paragraph 60; before every 25th word stands a wave (not in the BMP, and not a word). So the words of
such a story are its numbers, and from any prefix there is exactly one way to go on.
"""

from __future__ import annotations

import json
import re
from functools import cache

SENTENCE, PARAGRAPH, WAVE = 12, 60, 25
_STORY, _PLAN = re.compile(r"W(\d+)"), re.compile(r"t(\d+)")
_TARGET = re.compile(r"approximately (\d+) words")


@cache
def word(number: int) -> str:
    """The word with this number and the blanks before it, as one token."""
    if number == 1:
        return "W1"
    before = number - 1
    blank = "\n\n" if before % PARAGRAPH == 0 else " "
    wave = "🌊 " if number % WAVE == 0 else ""
    return f"{blank}{wave}W{number}{'.' if number % SENTENCE == 0 else ''}"


def story(words: int) -> str:
    """The text of the first `words` words."""
    return "".join(word(number) for number in range(1, words + 1))


@cache
def thought(number: int) -> str:
    return f"{' ' if number > 1 else ''}t{number}"


def event(text: str, finish: str | None = None) -> bytes:
    """One server-sent event in one HTTP chunk, in vLLM's own words."""
    body = {
        "id": "cmpl-scripted", "object": "text_completion", "created": 1, "model": "scripted",
        "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish, "stop_reason": None,
                     "token_ids": None, "prompt_logprobs": None, "prompt_token_ids": None}],
        "usage": None,
    }  # fmt: skip
    return chunk(b"data: " + json.dumps(body).encode() + b"\n\n")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@cache
def word_event(number: int) -> bytes:
    return event(word(number))


_STAMP = "#" * 12


@cache
def _around_stamp(number: int) -> tuple[bytes, bytes]:
    text = word(number).replace("🌊 ", "")
    before, _, after = event(text.replace(f"W{number}", _STAMP)).partition(_STAMP.encode())
    return before, after


def stamped_event(number: int, stamp: int) -> bytes:
    """A word that is a time: twelve digits, in the place of the word with this number."""
    before, after = _around_stamp(1 + number % (SENTENCE * PARAGRAPH) if number > 1 else 1)
    return b"%b%012d%b" % (before, stamp, after)


class Asked:
    """What a prompt, decoded, asks for."""

    def __init__(self, prompt: str) -> None:
        request, _, turn = prompt.rpartition("assistant\n")
        target = _TARGET.search(request)
        self.target = int(target[1]) if target else 10**9
        self.written = max(map(int, _STORY.findall(turn)), default=0)
        self.after_wave = turn.endswith("🌊")
        self.open_paragraph = turn.endswith("\n\n")
        thoughts = _PLAN.findall(turn)
        self.thought = int(thoughts[-1]) if thoughts else 0
        self.inside_thinking = "<think>" in turn and "</think>" not in turn
        self.thinking_over = "</think>" in turn
