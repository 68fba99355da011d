"""A scripted upstream: a FAKE model server for tests and benchmarks. No model is behind it, and it says so.

It speaks enough of OpenAI's /v1/models and /v1/completions for the narrator, writes the numbered words of
`tests.upstream.script` at a steady rate, goes on from any prefix, and fails in every way on command:

    POST /script  {"faults": [{"kind": "close", "after": 40}, ...], "always": {...}, "think": 30, "rate": 30}
    GET  /stats   {"asked": 3, "running": 1, "aborted": 2, "fake": true}

With --stamps a word is no number but the time at which it was sent, in microseconds on the monotonic clock that all
processes of a machine share: whoever receives it knows how old it is.

A fault is for one request, in their order; `always` is for all others. Run: python -m tests.upstream.server --port 0
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any, cast

import httptools
import uvloop
from tokenizers import Tokenizer

from tests.upstream.script import SENTENCE, Asked, chunk, event, stamped_event, thought, word, word_event

MODEL = "scripted"
_SLOTS = 8
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nserver: scripted-fake\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_DONE = chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Server:
    def __init__(self, tokenizer: Tokenizer, *, rate: float, context: int, stamps: bool, name: str = MODEL) -> None:
        self.name = name
        self.tokenizer, self.rate, self.context, self.with_stamps = tokenizer, rate, context, stamps
        self.slots: list[dict[Connection, Iterator[bytes | None]]] = [{} for _ in range(_SLOTS)]
        self.faults: list[dict[str, Any]] = []
        self.always: dict[str, Any] = {}
        self.think = 0
        self.asked = self.aborted = 0

    async def tick(self) -> None:
        """One timer for all streams: every slot has its turn once in 1/rate seconds."""
        loop = asyncio.get_running_loop()
        slot, at = 0, loop.time()
        while True:
            for connection, tokens in list(self.slots[slot].items()):
                data = next(tokens, b"")
                if data == b"":
                    del self.slots[slot][connection]
                elif data is not None:
                    connection.transport.write(data)
            slot = (slot + 1) % _SLOTS
            at += 1 / (self.rate * _SLOTS)
            if (wait := at - loop.time()) > 0.0005:
                await asyncio.sleep(wait)
            elif wait < -1:
                at = loop.time()

    def start(self, connection: Connection, request: dict[str, Any]) -> bytes:
        """Begin a stream; the bytes are what is sent at once."""
        self.asked += 1
        fault = self.faults.pop(0) if self.faults else self.always
        if fault.get("kind") == "status":
            return _answer(int(fault["code"]), {"error": {"message": fault.get("message", "scripted")}})
        prompt = self.tokenizer.decode(request["prompt"], skip_special_tokens=False)
        if len(request["prompt"]) + request["max_tokens"] > self.context:
            return _answer(400, {"error": {"message": "This model's maximum context length is exceeded."}})
        tokens = self.tokens(connection, Asked(prompt), fault, int(request["max_tokens"]))
        min(self.slots, key=len)[connection] = tokens
        return _HEAD

    def tokens(self, connection: Connection, asked: Asked, fault: dict[str, Any], most: int) -> Iterator[bytes | None]:
        """One item per token: bytes to send, None to stay silent, and no more when it is over."""
        kind, after = fault.get("kind", ""), int(fault.get("after", 0))
        for sent, data in enumerate(self.writing(asked, kind, after)):
            if sent >= after and kind in _STRIKES:
                yield from _STRIKES[kind](connection)
                return
            if sent >= most:
                yield event("", "length") + _DONE
                return
            yield data
        yield event("", "stop") + _DONE

    def planning(self, asked: Asked) -> Iterator[bytes]:
        if not asked.inside_thinking:
            yield event("<th")
            yield event("ink>\n")
        for number in range(asked.thought + 1, self.think + 1):
            yield event(thought(number))
        yield event("\n</thi")
        yield event("nk>\n\n")

    def writing(self, asked: Asked, kind: str, after: int) -> Iterator[bytes]:
        if kind == "early" and after == 0:
            return
        if self.think and not asked.written and not asked.thinking_over:
            yield from self.planning(asked)
        number = asked.written
        sent = 0
        while True:
            number += 1
            sent += 1
            if kind == "loop" and sent > after:
                number = max(number - 40, 1) if (sent - after) % 40 == 1 else number
                yield event(word(number))
                continue
            if self.with_stamps:
                yield stamped_event(number, time.monotonic_ns() // 1000)
            elif sent == 1 and asked.open_paragraph:
                yield event(word(number).lstrip())
            elif sent == 1 and asked.after_wave:
                yield event(word(number).replace("🌊 ", ""))
            elif kind == "unstorable" and sent % 7 == 0:
                yield event(word(number) + "\0\ud83d")  # a NUL and half a surrogate pair behind the word
            else:
                yield word_event(number)
            if kind == "early" and sent >= after:
                return
            if kind != "endless" and number >= asked.target and number % SENTENCE == 0:
                return


def _stall(connection: Connection) -> Iterator[bytes | None]:
    while True:
        yield None


def _close(connection: Connection) -> Iterator[bytes | None]:
    connection.transport.abort()
    yield b""


def _half(connection: Connection) -> Iterator[bytes | None]:
    connection.transport.write(event(" half")[:60])
    connection.transport.close()
    yield b""


def _bad_json(connection: Connection) -> Iterator[bytes | None]:
    yield chunk(b'data: {"choices": [{"text": " oops"]}\n\n')
    yield event("", "stop") + _DONE


def _garbage(connection: Connection) -> Iterator[bytes | None]:
    connection.transport.write(os.urandom(256))
    connection.transport.close()
    yield b""


def _error(connection: Connection) -> Iterator[bytes | None]:
    yield chunk(b'data: {"error": {"message": "EngineCore died", "code": 500}}\n\n') + _DONE


def _silent_end(connection: Connection) -> Iterator[bytes | None]:
    yield b"0\r\n\r\n"


_STRIKES = {
    "stall": _stall, "close": _close, "half": _half, "json": _bad_json, "garbage": _garbage, "error": _error,
    "silent_end": _silent_end,
}  # fmt: skip


def _answer(status: int, body: Any) -> bytes:
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    return head.encode() + data


class Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self.server = server
        self.parser = httptools.HttpRequestParser(self)
        self.path, self.body = b"", b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        for slot in self.server.slots:
            if slot.pop(self, None) is not None:
                self.server.aborted += 1

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.path, self.body = url, b""

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        server = self.server
        if self.path == b"/v1/models":
            listing = [
                {"id": server.name, "object": "model", "max_model_len": server.context, "owned_by": "a fake for tests"}
            ]
            self.transport.write(_answer(200, {"object": "list", "data": listing}))
        elif self.path == b"/v1/completions":
            self.transport.write(server.start(self, json.loads(self.body)))
        elif self.path == b"/script":
            script = json.loads(self.body)
            server.faults = script.get("faults", [])
            server.always = script.get("always", {})
            server.think = script.get("think", 0)
            server.rate = script.get("rate", server.rate)
            self.transport.write(_answer(200, {}))
        elif self.path == b"/stats":
            running = sum(map(len, server.slots))
            stats = {"asked": server.asked, "running": running, "aborted": server.aborted, "fake": True}
            self.transport.write(_answer(200, stats))
        else:
            self.transport.write(_answer(404, {}))


async def serve(arguments: argparse.Namespace) -> None:
    tokenizer = Tokenizer.from_file(f"{arguments.tokenizer}/tokenizer.json")
    server = Server(
        tokenizer, rate=arguments.rate, context=arguments.context, stamps=arguments.stamps, name=arguments.name
    )
    loop = asyncio.get_running_loop()
    listening = socket.create_server(("127.0.0.1", arguments.port), backlog=1024)
    await loop.create_server(lambda: Connection(server), sock=listening)
    print(f"scripted upstream (a fake) on port {listening.getsockname()[1]}", flush=True)
    ticking = loop.create_task(server.tick())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ticking.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await ticking


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rate", type=float, default=30.0, help="tokens a second, of each stream")
    parser.add_argument("--context", type=int, default=32768, help="tokens")
    parser.add_argument("--tokenizer", default="demo/model", help="a folder with tokenizer.json")
    parser.add_argument("--name", default=MODEL, help="what it calls its model, where the name is given from outside")
    parser.add_argument("--stamps", action="store_true", help="send times instead of numbers")
    uvloop.run(serve(parser.parse_args()))
