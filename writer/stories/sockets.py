"""The WebSocket of a reader of a generation: who may open it, and what is sent. See "The reader" in `docs/protocol.md`.

A reader accepts a chunk from Redis only if it is the next one. Otherwise, and if the reader is behind, the text is read from
PostgreSQL in merged chunks. So a slow reader gets fewer and longer messages, and does not delay others.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from importlib import import_module
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import msgspec
import structlog
from channels.auth import AuthMiddlewareStack, get_user
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import Error as DatabaseError
from django.http.request import validate_host
from django.urls import path, re_path

from writer.accounts.models import User
from writer.accounts.tokens import bearer, user_of_token
from writer.stories.hub import HEARTBEAT, Row, Watch, encode, hub, in_database
from writer.stories.models import Generation
from writer.stories.reading import runs_after

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

RIGHTS_SECONDS = 600.0
MOST_WAITING = 64
"""Chunks that may wait for a slow reader. If there are more, they are dropped and read from PostgreSQL later."""
CATCH_UP_PAUSE = 0.2
UNAUTHENTICATED, MISSING, AGAIN, BAD_MESSAGE = 4401, 4404, 4408, 4400

log = structlog.get_logger()


# Who may open a socket


def admit(app: App) -> App:
    """Authenticate by session cookie and an Origin of this site, or by bearer token. Requests with another Origin are refused."""
    with_session: App = AuthMiddlewareStack(app)

    async def check(scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        origin = headers.get(b"origin")
        if origin is not None and not _is_ours(origin, headers.get(b"host", "")):
            return await _refuse(scope, receive, send, 403, "This origin may not open a connection.")
        if b"authorization" in headers:
            scope["token"] = bearer(headers[b"authorization"])
            scope["user"] = await database_sync_to_async(user_of_token)(scope["token"])
            return await app(scope, receive, send)
        if origin is None:
            return await _refuse(scope, receive, send, 403, "A connection with a session needs an Origin.")
        return await with_session(scope, receive, send)

    return check


def _is_ours(origin: str, host: str) -> bool:
    if origin in settings.CSRF_TRUSTED_ORIGINS:
        return True
    parts = urlsplit(origin)
    scheme = parts.scheme == "https" or (parts.scheme == "http" and not settings.SECURE_SSL_REDIRECT)
    return (
        scheme
        and parts.netloc.lower() == host.lower()
        and validate_host((parts.hostname or "").lower(), settings.ALLOWED_HOSTS)
    )


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, detail: str) -> None:
    """Refuse the handshake with an HTTP response."""
    await receive()
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 4000 + status})
        return
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": encode({"detail": detail})})
    await asyncio.sleep(
        0.01
    )  # uvicorn treats the response as complete, and logs no error, after the connection is closed


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    await _refuse(scope, receive, send, 404, "There is nothing at this address.")


async def _still_signed_in(scope: Scope) -> User | None:
    """Read the person again, since the session may have ended, or the token may have been revoked, meanwhile."""
    if "token" in scope:
        owner: User | None = await database_sync_to_async(user_of_token)(scope["token"])
        return owner
    store = import_module(settings.SESSION_ENGINE).SessionStore
    user = await get_user({"session": store(scope["session"].session_key)})
    return user if isinstance(user, User) else None


def _may_read(user: User, generation_id: UUID) -> bool:
    return Generation.objects.for_user(user).filter(pk=generation_id).exists()


# What is sent


class Reader:
    def __init__(self, generation_id: UUID, after: int, send: Send) -> None:
        self.generation_id = generation_id
        self.watch: Watch | None = None
        self._send_event = send
        self._seq = after
        self._waiting: deque[tuple[int, str]] = deque()
        self._behind = True
        self._beat = False
        self._told: tuple[object, ...] | None = None
        self._ended: tuple[object, ...] | None = None
        self._close = 0
        self._wake = asyncio.Event()

    # Called by the hub and the receiving task

    def offer(self, seq: int, message: str) -> None:
        if len(self._waiting) == MOST_WAITING:
            self._waiting.clear()
            self._behind = True
        self._waiting.append((seq, message))
        self._wake.set()

    def look(self, *, beat: bool = False) -> None:
        self._beat = self._beat or beat
        self._wake.set()

    def doubt(self) -> None:
        self._behind = True

    def ask(self, after: int) -> None:
        """Set the last chunk that the client has."""
        self._seq, self._behind, self._ended = after, True, None
        self._wake.set()

    def close(self, code: int) -> None:
        self._close = code
        self._wake.set()

    # The sending task

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            assert self.watch is not None
            if self.watch.gone:
                self._close = MISSING
            if self._close:
                return await self._send_event({"type": "websocket.close", "code": self._close})
            if self.watch.row is None:
                continue  # not read yet; the first message is the state
            try:
                await self._tell(self.watch, self.watch.row)
            except DatabaseError as error:
                log.warning("reader_waits_for_postgres", error=str(error).strip().split("\n")[0])
                self._behind = True
                await asyncio.sleep(1)
                self._wake.set()

    async def _tell(self, watch: Watch, row: Row) -> None:
        if row.news != self._told:
            await self._send(row.message())
            self._told = row.news
        beat, self._beat = self._beat, False
        if (beat or row.resting) and self._seq < row.last_seq:
            self._behind = True
        await self._follow(row)
        if beat:
            await self._send(f'{{"type":"heartbeat","last_seq":{row.last_seq}}}')
        if not row.resting:
            self._ended = None
        elif self._seq >= row.last_seq and self._ended != row.rest and (end := await watch.end(row)):
            await self._send(end)
            self._ended = row.rest

    async def _follow(self, row: Row) -> None:
        """Send the waiting chunks while they are consecutive, otherwise those in PostgreSQL."""
        while self._behind or self._waiting:
            if self._behind:
                self._behind = False
                if not await self._catch_up(row):
                    return
                continue
            seq, message = self._waiting[0]
            if seq > self._seq + 1:
                self._behind = True
                continue
            self._waiting.popleft()
            if seq == self._seq + 1:
                await self._send(message)
                self._seq = seq

    async def _catch_up(self, row: Row) -> bool:
        """Send the chunks in PostgreSQL after the last one sent. Returns whether more remains to be done."""
        if self._seq >= row.last_seq and not self._waiting:
            return False
        runs = await in_database(runs_after, self.generation_id, self._seq, row.words)
        for run in runs:
            if self._seq != run.first - 1:
                return True  # the client has sent another position meanwhile
            await self._send(run.json())
            self._seq = run.seq
        if not runs:
            self._waiting.clear()  # announced, but not stored: the story was deleted
        return bool(self._waiting)

    async def _send(self, text: str) -> None:
        await self._send_event({"type": "websocket.send", "text": text})


async def read_generation(scope: Scope, receive: Receive, send: Send) -> None:
    """One socket, from the handshake to its end."""
    generation_id: UUID = scope["url_route"]["kwargs"]["generation_id"]
    user = scope.get("user")
    if user is None or not user.is_authenticated:
        if "token" in scope:
            return await _refuse(scope, receive, send, 401, "This token is not valid.")
        # A browser does not tell a page why a handshake was refused, so the reason is sent in an open socket.
        await receive()
        await send({"type": "websocket.accept"})
        return await send({"type": "websocket.close", "code": UNAUTHENTICATED})
    if not await in_database(_may_read, user, generation_id):
        return await _not_found(scope, receive, send)
    after = parse_qs(scope["query_string"].decode("latin-1")).get("after", ["0"])[0]
    if not (after.isascii() and after.isdigit() and len(after) < 10):
        return await _refuse(scope, receive, send, 400, "after must be the number of the last chunk received.")
    await receive()
    await send({"type": "websocket.accept"})
    reader = Reader(generation_id, int(after), send)
    our_hub = hub()
    reader.watch = watch = await our_hub.join(generation_id, reader)
    reader.look()
    tasks = [
        asyncio.create_task(reader.run()),
        asyncio.create_task(_hear(receive, reader)),
        asyncio.create_task(_look_at_rights(scope, reader)),
    ]
    try:
        done, _ = await asyncio.wait(tasks[:2], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    except OSError:
        pass  # the client has disconnected
    finally:
        for task in tasks:
            task.cancel()
        await our_hub.leave(watch, reader)


async def _hear(receive: Receive, reader: Reader) -> None:
    """Process the messages of the client until it disconnects."""
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            return
        try:
            reader.ask(msgspec.json.decode(event.get("text") or event.get("bytes") or b"", type=_Ask).after)
        except msgspec.DecodeError:
            reader.close(BAD_MESSAGE)
            await asyncio.sleep(HEARTBEAT)
            return
        await asyncio.sleep(CATCH_UP_PAUSE)  # at most five answers a second


class _Ask(msgspec.Struct):
    after: int

    def __post_init__(self) -> None:
        if not 0 <= self.after < 2**31:
            raise ValueError("after is out of range")


async def _look_at_rights(scope: Scope, reader: Reader) -> None:
    """Check access again after ten minutes. The reason of a refusal is sent here, since a refused handshake cannot tell it."""
    await asyncio.sleep(RIGHTS_SECONDS * (1 + 0.1 * random.random()))
    user = await _still_signed_in(scope)
    if user is None:
        reader.close(UNAUTHENTICATED)
    else:
        reader.close(AGAIN if await in_database(_may_read, user, reader.generation_id) else MISSING)


# Channels' router takes ASGI applications in place of views.
routes = [
    path("ws/generations/<uuid:generation_id>", read_generation),  # type: ignore[arg-type]
    re_path(r"", _not_found),  # type: ignore[arg-type]
]
