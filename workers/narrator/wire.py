"""An HTTP request whose answer is read when the narrator has time for it.

Other clients wake up for every token. Here a streamed answer is read once per tick: until then its bytes are in the
socket's buffer, one `recv` reads them all, and httptools decodes the chunked encoding. With hundreds of stories this
takes a tenth of a core instead of a whole one.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import cast
from urllib.parse import urlsplit

import httptools

READ_MOST = 4 * 2**20
"""Bytes of one answer that are buffered. No answer between two ticks is that long."""


class WireError(Exception):
    """The connection could not be made, broke, or did not speak HTTP."""


class Exchange(asyncio.Protocol):
    """A request on a connection of its own; closing the connection stops the server."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.complete = False
        self.error: str | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._on_ticks = False
        self._paused = False
        self._news: asyncio.Future[None] | None = None

    # Called by the narrator

    async def wait(self) -> None:
        """Wait for something new: the head, bytes, the end, or an error."""
        if not (self._body or self.complete or self.error):
            self._news = asyncio.get_running_loop().create_future()
            try:
                await self._news
            finally:
                self._news = None

    def read_freely(self) -> None:
        """From now on, read data as it arrives."""
        self._on_ticks = False
        self.resume()

    def read_on_tick(self) -> None:
        """From now on, read the socket only after `resume`."""
        self._on_ticks = True
        self._pause()

    def resume(self) -> None:
        """Let the event loop read once, in its next iteration."""
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def take(self) -> bytes:
        """Everything that was read since the last call."""
        if not self._body:
            return b""
        body = b"".join(self._body)
        self._body.clear()
        self._size = 0
        return body

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.error is not None or self.complete:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.error = "it sent what is not HTTP"
        if self._on_ticks or self._size > READ_MOST:
            self._pause()
        self._notify()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if not self.complete and self.error is None:
            self.error = "it closed the connection in the middle"
        self._notify()

    def _pause(self) -> None:
        if not self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _notify(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    # Called by the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._size += len(body)

    def on_message_complete(self) -> None:
        self.complete = True


async def ask(
    url: str, *, method: str = "POST", body: bytes = b"", key: str = "", connect_seconds: float = 5.0
) -> Exchange:
    """Send a request, without waiting for the head of the answer. Raises WireError if there is no connection."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "localhost", parts.port or (443 if secure else 80)
    head = [
        f"{method} {parts.path or '/'}{'?' + parts.query if parts.query else ''} HTTP/1.1",
        f"Host: {parts.netloc.rpartition('@')[2]}",
        "Accept: */*",
        "Connection: close",
    ]
    if key:
        head.append(f"Authorization: Bearer {key}")
    if body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(connect_seconds):
            transport, exchange = await loop.create_connection(
                Exchange, host, port, ssl=ssl.create_default_context() if secure else None
            )
    except (OSError, TimeoutError) as error:
        raise WireError(str(error) or "no answer") from error
    transport.write("\r\n".join([*head, "", ""]).encode() + body)
    return exchange
