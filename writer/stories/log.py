"""The log of a generation: how its text is joined to the text that it continues, and the messages with its chunks.

`docs/protocol.md` defines both. `writer/frontend/src/drafting/log.ts` implements the same for the browser;
`tests/writer/stories/log.json` contains examples for which both must give the same results.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

import msgspec

BLANKS = " \t\n"
"""The only characters that `join` removes. Other white space (U+00A0, U+3000, ...) is text."""
_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1f\x85\u2028\u2029]")


def join(head: str, tail: str) -> str:
    """Return `head` followed by `tail`, the rest of the log.

    The tail contains the blank line that separates it from the head. So line ends at the end of the head are removed, with the spaces and
    tabs around them. If the head is blank, it is removed, with the blank lines at the start of the tail.
    """
    if not tail:
        return head
    kept = head.rstrip(BLANKS)
    if not kept:
        lead = len(tail) - len(tail.lstrip(BLANKS))
        return tail[tail.rfind("\n", 0, lead) + 1 :]
    return (kept if "\n" in head[len(kept) :] else head) + tail


def ends_paragraph(log: str, at: int) -> bool:
    """Return whether the offset is 0, or a paragraph of the log ends there and the next one has begun."""
    return at == 0 or log.startswith("\n\n", at)


def plain_line_ends(text: str) -> str:
    """Return `text` with line feeds for all other kinds of line ends, so that words stay separated."""
    return _LINE_ENDS.sub("\n", text)


class ChunkMessage(msgspec.Struct, frozen=True, tag_field="type", tag="chunk"):
    """Consecutive chunks of one channel, as a reader gets them."""

    first: int
    """The `seq` of the first chunk."""
    seq: int
    """The `seq` of the last chunk."""
    channel: str
    start: int
    """The length of the channel before, in code points."""
    text: str
    words: int
    """Words of the whole story, including these chunks."""

    def json(self) -> str:
        """Return the message for a WebSocket."""
        return _encode(self).decode()

    def call(self) -> bytes:
        """Return the message for Redis, preceded by its `seq`, so that the web server need not decode the rest."""
        return b"%d %b" % (self.seq, _encode(self))


_encode = msgspec.json.Encoder().encode


def parse_call(call: bytes) -> tuple[int, str] | None:
    """Return the `seq` and the JSON in the result of `ChunkMessage.call`; None for any other bytes."""
    seq, _, message = call.partition(b" ")
    return (int(seq), message.decode()) if seq.isdigit() else None


def merged(chunks: Iterable[tuple[int, str, int, str]], words: int) -> list[ChunkMessage]:
    """Return ordered chunks (seq, channel, start, text) as messages, with consecutive chunks of a channel merged."""
    messages = []
    for channel, run in groupby(chunks, key=lambda chunk: chunk[1]):
        pieces = list(run)
        text = "".join(piece[3] for piece in pieces)
        messages.append(ChunkMessage(pieces[0][0], pieces[-1][0], channel, pieces[0][2], text, words))
    return messages
