"""A minimal reader by docs/protocol.md, which processes the messages of the socket as a browser or a script does."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any


class Reader:
    """Feed it messages in any order, as often as you like; it tells what to ask the server for, if anything."""

    def __init__(self) -> None:
        self.seq = 0
        self.channels = {"story": "", "thinking": ""}
        self.words = 0
        self.state = ""
        self.ended = False

    @property
    def text(self) -> str:
        return self.channels["story"]

    def receive(self, message: Mapping[str, Any]) -> dict[str, int] | None:
        """Take a message; the answer, if there is one, is to be sent to the server."""
        match message["type"]:
            case "chunk":
                return self._chunk(message)
            case "state":
                self.state = message["state"]
                self.ended = False
            case "heartbeat":
                if message["last_seq"] > self.seq:
                    return {"after": self.seq}
            case "end":
                self.state = message["state"]
                digest = sha256(self.text.encode()).hexdigest()
                if (self.seq, len(self.text), digest) != (message["last_seq"], message["chars"], message["sha256"]):
                    self.seq, self.channels = 0, {"story": "", "thinking": ""}
                    return {"after": 0}
                self.ended = True
        return None

    def _chunk(self, message: Mapping[str, Any]) -> dict[str, int] | None:
        if message["first"] > self.seq + 1:
            return {"after": self.seq}
        if message["first"] < self.seq + 1:
            return None  # had it
        if message["start"] != len(self.channels[message["channel"]]):
            return {"after": self.seq}
        self.channels[message["channel"]] += message["text"]
        self.seq = message["seq"]
        self.words = message["words"]
        return None
