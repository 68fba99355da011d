"""The log of a generation: how its text is joined to the text that it continues, and the message in which its chunks travel.

`docs/protocol.md` defines both. `writer/frontend/src/drafting/log.ts` is the same for the browser;
`tests/writer/stories/log.json` holds the examples that both must answer alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

import msgspec

BLANKS = " \t\n"
"""The only characters that `join` takes away. Any other white space (U+00A0, U+3000, ...) is text."""
_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1f\x85\u2028\u2029]")


def join(head: str, tail: str) -> str:
    """Return `head` with `tail`, the rest of the log, behind it.

    The tail brings the blank line that separates it from the head. So line ends at the end of the head go, with the spaces and tabs
    around them; behind a head of nothing but blanks the blank lines at the start of the tail go instead, and the head with them.
    """
    if not tail:
        return head
    kept = head.rstrip(BLANKS)
    if not kept:
        lead = len(tail) - len(tail.lstrip(BLANKS))
        return tail[tail.rfind("\n", 0, lead) + 1 :]
    return (kept if "\n" in head[len(kept) :] else head) + tail


def ends_paragraph(log: str, at: int) -> bool:
    """Return whether a paragraph of the log ends at this offset and a next one has begun, or nothing is before it."""
    return at == 0 or log.startswith("\n\n", at)


def plain_line_ends(text: str) -> str:
    """Return `text` with a line feed for each line end of another kind: what separates words must not vanish."""
    return _LINE_ENDS.sub("\n", text)


class ChunkMessage(msgspec.Struct, frozen=True, tag_field="type", tag="chunk"):
    """Chunks of one channel that follow on one another, as a reader gets them."""

    first: int
    """The `seq` of the first of them."""
    seq: int
    """The `seq` of the last of them."""
    channel: str
    start: int
    """What the channel held before, in code points."""
    text: str
    words: int
    """Of the whole story, with these chunks."""

    def json(self) -> str:
        """Return the message as a WebSocket carries it."""
        return _encode(self).decode()

    def call(self) -> bytes:
        """Return the message as Redis carries it: its `seq` stands before it, so that the web server need not decode the rest."""
        return b"%d %b" % (self.seq, _encode(self))


_encode = msgspec.json.Encoder().encode


def parse_call(call: bytes) -> tuple[int, str] | None:
    """Return the `seq` and the JSON of what `ChunkMessage.call` wrote; None for anything else."""
    seq, _, message = call.partition(b" ")
    return (int(seq), message.decode()) if seq.isdigit() else None


def merged(chunks: Iterable[tuple[int, str, int, str]], words: int) -> list[ChunkMessage]:
    """Return chunks (seq, channel, start, text), in their order, as messages: one for each run of a channel."""
    messages = []
    for channel, run in groupby(chunks, key=lambda chunk: chunk[1]):
        pieces = list(run)
        text = "".join(piece[3] for piece in pieces)
        messages.append(ChunkMessage(pieces[0][0], pieces[-1][0], channel, pieces[0][2], text, words))
    return messages
