"""A conversation as the token ids of vLLM's /tokenize, in which no text becomes a control token.

The server renders and tokenises a conversation as one string. So a mark, which no text has, parts each string that may be a control token, and the
tokens of the mark are taken out again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from training.common.control_strings import parted
from training.common.text import Message
from training.serving.http import Unavailable

Ask = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
MARK = "\ue000"  # a private-use character


async def chat_tokens(ask: Ask, model: str, messages: Sequence[Message], *, opens: bool = True) -> list[int]:
    """The tokens of a conversation, up to where the assistant's turn begins if it `opens` one. `ask` posts a body to a route of the server.

    Raises ServerFailed as `ask` does.
    """

    async def tokenize(body: dict[str, Any]) -> list[int]:
        tokens = (await ask("/tokenize", {"model": model, **body})).get("tokens")
        if not isinstance(tokens, list):
            raise Unavailable("the server's answer holds no tokens")
        return tokens

    async def chat(some: Sequence[Message]) -> list[int]:
        return await tokenize({"messages": some, "add_generation_prompt": opens})

    given = sum(message["content"].count(MARK) for message in messages)
    marked = parted_messages(messages, MARK)
    added = sum(message["content"].count(MARK) for message in marked) - given
    tokens = await chat(marked)
    if not added:
        return tokens
    before, after = [await tokenize({"prompt": text, "add_special_tokens": False}) for text in ("a", f"a{MARK}")]
    mark = after[len(before) :]
    cuts = [place for place in range(len(tokens)) if mark and tokens[place : place + len(mark)] == mark]
    if (
        given or len(cuts) != added or after[: len(before)] != before
    ):  # a token holds the mark and what stands beside it
        return await chat(parted_messages(messages))
    inside = {place + offset for place in cuts for offset in range(len(mark))}
    return [token for place, token in enumerate(tokens) if place not in inside]


def parted_messages(messages: Sequence[Message], by: str = " ") -> list[Message]:
    """The messages with `by` after the first character of each string that may be a control token."""
    return [{**message, "content": parted(message["content"], by)} for message in messages]
