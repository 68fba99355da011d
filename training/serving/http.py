"""HTTP to model servers: proxies, limits of answers, and the two kinds of failures.

No proxy is used for the site's own servers: addresses of this machine and of private networks, and those that the caller declares as such.
For others HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY apply.
"""

from __future__ import annotations

import random
import ssl
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from email.utils import parsedate_to_datetime
from functools import cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx2

from training.common.errors import MendableError
from training.common.text import storable

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
MOST_BYTES, LOGPROBS_BYTES = 16 * 2**20, 256 * 2**20
"""Limits of an answer in bytes: of a text, and of one with log-probabilities, which take a hundred bytes or more per token."""
RETRYABLE = (408, 409, 429)
"""Temporary statuses, in addition to all from 500 on: request timeout, conflict, too many requests."""


class ServerFailed(Exception):
    """A request to a model server failed; the message tells why."""


class Unavailable(ServerFailed):
    """There is no valid answer; the same request may succeed later. The message is a clause that tells why.

    `retry_after` is the delay that the server demands, in seconds. `reached`: the server may have worked on the request, which then costs its prompt.
    """

    def __init__(self, why: str, *, retry_after: float | None = None, reached: bool = True) -> None:
        super().__init__(why)
        self.retry_after, self.reached = retry_after, reached

    def wait(self, attempt: int) -> float:
        """Seconds to wait after attempt number `attempt`, from 1: increasing, at least what the server demands, and at most a minute."""
        wait = FIRST_WAIT * 2.0 ** (attempt - 1) * random.uniform(0.5, 1)
        return min(LONGEST_WAIT, max(wait, self.retry_after or 0.0))


class Refused(ServerFailed):
    """The server refuses this request permanently. The message is a clause that contains the server's message."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"the server refuses the request ({status}): {said}")
        self.status = status


def is_own(url: str) -> bool:
    """Whether an address is of this machine or of a private network: by its number, or by a name that no public server can have.

    >>> [is_own(f"http://{host}:8000") for host in ("127.0.0.1", "[::1]", "10.0.0.7", "localhost", "vllm", "gpu.internal")]
    [True, True, True, True, True, True]
    >>> [is_own(f"https://{host}") for host in ("8.8.8.8", "models.example.org")]
    [False, False]
    """
    host = urlsplit(url).hostname or ""
    try:
        return not ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".internal"))


def connections(
    url: str, *, seconds: float, at_once: int, own: bool = False, most_bytes: int = MOST_BYTES
) -> httpx2.AsyncClient:
    """Connections to one server. Raises MendableError if the environment names a proxy that cannot be used.

    Reading an answer raises Unavailable if it is longer than `most_bytes`, as it comes or decompressed, or compressed by something else than
    gzip or deflate.
    """

    async def bounded(response: httpx2.Response) -> None:
        encoding = response.headers.pop("Content-Encoding", "identity").lower()
        if encoding not in ("identity", "gzip", "deflate"):
            raise Unavailable(f"the answer is compressed by {encoding[:40]}, which was not asked for")
        response.encoding = "utf-8"  # ignore the declared charset, since some of Python's codecs are not for text
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Bounded(response.stream, most_bytes, compressed=encoding != "identity")

    try:
        return httpx2.AsyncClient(
            base_url=url,
            headers={"Accept-Encoding": "identity"},
            timeout=httpx2.Timeout(seconds, connect=min(30.0, seconds)),
            limits=httpx2.Limits(max_connections=at_once, max_keepalive_connections=at_once),
            event_hooks={"response": [bounded]},
            trust_env=not (own or is_own(url)),
            verify=_certificates(),
        )
    except (ImportError, ValueError):  # SOCKS without its package, and other kinds of proxies
        raise MendableError(
            "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names a proxy of a kind that cannot be used: name one that begins with http:// or https://, or "
            "install the package socksio for socks5://."
        ) from None


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, most_bytes: int, *, compressed: bool) -> None:
        self._stream, self._most = stream, most_bytes
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32) if compressed else None  # 32: of gzip or of zlib

    async def __aiter__(self) -> AsyncIterator[bytes]:
        came = given = (
            0  # both are bounded: what follows the end of compressed data decompresses to nothing, and is kept
        )
        async for part in self._stream:
            came += len(part)
            if self._inflate:
                try:
                    part = self._inflate.decompress(
                        part, self._most - given + 1
                    )  # no more: a few bytes may hold gigabytes
                except zlib.error:
                    raise Unavailable("the answer is compressed in a way that cannot be read") from None
            given += len(part)
            if max(came, given) > self._most:
                raise Unavailable("the answer is far too long")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


def ask_own(url: str, path: str, key: str, body: Mapping[str, Any] | None = None, *, seconds: float) -> httpx2.Response:
    """One request to a server of the site: POST with `body` as JSON, GET without one. Raises ServerFailed."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx2.Client(headers=headers, timeout=seconds, trust_env=False, verify=_certificates()) as http:
            response = http.request("GET" if body is None else "POST", url.rstrip("/") + path, json=body)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise failure(error, seconds) from None
    check(response)
    return response


def models_of(url: str, key: str, *, seconds: float = 10.0) -> list[str]:
    """The names of the models that a server of the site serves now, the base model first. Raises ServerFailed."""
    try:
        return [str(model["id"]) for model in ask_own(url, "/v1/models", key, seconds=seconds).json()["data"]]
    except (ValueError, KeyError, TypeError):
        raise Unavailable("what the server answers is no list of models") from None


def failure(error: BaseException | None, seconds: float) -> Unavailable:
    """The failure for a request that ended with `error` instead of a response."""
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError | httpx2.InvalidURL):
        return Unavailable(f"the server cannot be reached: {str(error) or type(error).__name__}", reached=False)
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        return Unavailable(f"there was no answer within {seconds:g} seconds")
    return Unavailable(f"the connection broke: {str(error) or type(error).__name__}")


def check(response: httpx2.Response) -> None:
    """Raise ServerFailed if the status is not 200."""
    status, said = response.status_code, storable(response.text[:300])
    if status in RETRYABLE or status >= 500:
        why = f"the server answers {status}: {said}"
        raise Unavailable(why, retry_after=_retry_after(response), reached=False)
    if status != 200:
        raise Refused(status, said)


def _retry_after(response: httpx2.Response) -> float | None:
    """Seconds, from the header's number or date."""
    said = response.headers.get("Retry-After", "")
    try:
        return float(said)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(said).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None


@cache
def _certificates() -> ssl.SSLContext:
    """The certificates of the system, or of SSL_CERT_FILE and SSL_CERT_DIR, also for own servers."""
    return httpx2.create_ssl_context()
