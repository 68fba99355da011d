"""Strings that are control tokens of some model, such as `<|im_end|>`, `</s>` or `[INST]`.

A server that tokenises a conversation as one string takes them for control tokens, whoever wrote them. Where the tokens cannot be sent instead, a
blank parts their letters, which people and models still read as before.
"""

from __future__ import annotations

from collections.abc import Iterable

import regex

_TAGS = (
    r"s|unk|pad|bos|eos|bot|eot|eod|mask|cls|sep|think|thinking|reasoning|tool|tools|image|img|audio|video|system|user|assistant|human|model|sop|eop|"
    r"gmask|start|end|observation|unused_?\d+|reserved_?\d+|extra_id_\d+|\w{1,40}[_:]\w{1,40}"
)
_BRACKETS = (
    r"INST|SYS|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|CALL_ID|ARGS|THINK|IMG|IMG_BREAK|IMG_END|PREFIX|MIDDLE|SUFFIX|AUDIO|"
    r"BEGIN_AUDIO|CLS|SEP|PAD|UNK|MASK|BOS|EOS|gMASK|sMASK|MODEL_SETTINGS|control_\d+"
)
_CONTROL = regex.compile(
    rf"[<＜]/?[|｜][^<>＜＞\n]{{1,64}}?[|｜][>＞]|[<＜]/?(?:{_TAGS})/?[>＞]|<</?SYS>>|\[/?(?:{_BRACKETS})\]",
    regex.IGNORECASE,
)


def controls_in(text: str) -> set[str]:
    """The strings in a text that may be control tokens."""
    return {found[0] for found in _CONTROL.finditer(text)}


def parted(text: str, by: str = " ") -> str:
    """The text with a blank after the first character of each string that may be a control token.

    >>> parted("He wrote <|im_end|>, </s> and [INST]; 1 < 2.")
    'He wrote < |im_end|>, < /s> and [ INST]; 1 < 2.'
    """
    return _CONTROL.sub(lambda found: found[0][0] + by + found[0][1:], text)


def joined(answer: str, texts: Iterable[str]) -> str:
    """An answer about texts that were parted, with the strings that it copied from them as they were."""
    for one in {one for text in texts for one in controls_in(text)}:
        answer = answer.replace(parted(one), one)
    return answer
