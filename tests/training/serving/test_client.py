"""The client of OpenAI-compatible servers: its requests, proxies, and the handling of all kinds of answers."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Mapping
from email.utils import formatdate
from typing import Any

import pytest

from tests.servers import ServedModel
from tests.training.http import Handler, Server
from training.common.errors import MendableError
from training.serving.client import Completion, ModelClient
from training.serving.http import Refused, Unavailable, models_of

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 9, "seed": 3}
TOKENS = {"model": "m", "prompt": [1, 15, 7], "max_tokens": 9, "prompt_logprobs": 0}
ANSWER = {
    "choices": [{"message": {"content": "Good \x00 day"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 4},
}
DEAD = "http://127.0.0.1:9"


class Script:
    """A server that answers as the test says. `asked` holds (target, headers, body) of each request; `gone` is set when somebody hangs up."""

    def __init__(self) -> None:
        self.reply: Callable[[_Scripted], None] = lambda handler: handler.reply(200, json.dumps(ANSWER).encode())
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.gone = threading.Event()
        self._server = Server(("127.0.0.1", 0), type("Handler", (_Scripted,), {"script": self}))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Scripted(Handler):
    script: Script

    def do_GET(self) -> None:  # noqa: N802 - the names that http.server looks for
        self._answer(None)

    def do_POST(self) -> None:  # noqa: N802
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: Any) -> None:
        self.script.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        try:
            self.script.reply(self)
        except OSError:
            self.close_connection = True
            self.script.gone.set()

    def drip(
        self, part: bytes, pause: float = 0.0, headers: Mapping[str, str] | None = None, first: bytes = b""
    ) -> None:
        """One small part after another, without an end."""
        self.send_response(200)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(first)
        while True:
            self.wfile.write(part)
            time.sleep(pause)


@pytest.fixture
def script() -> Iterator[Script]:
    made = Script()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def ask(url: str, body: dict[str, Any] = CHAT, *, key: str = "", seconds: float = 5.0, **changes: Any) -> Completion:
    async def one() -> Completion:
        async with ModelClient(url, key, seconds=seconds, at_once=2, **changes) as client:
            return await client.complete(body)

    return asyncio.run(one())


def test_messages_and_token_ids_go_out_as_they_were_given(script: Script) -> None:
    found = ask(script.url, CHAT, key="a-key")
    assert (found.text, found.finish_reason, found.tokens_in, found.tokens_out) == ("Good � day", "stop", 12, 4)
    choice = {"text": " day", "finish_reason": "length", "prompt_logprobs": [None, {"15": {"logprob": -1.5}}]}
    script.reply = lambda handler: handler.reply(200, json.dumps({"choices": [choice], "usage": None}).encode())
    found = ask(script.url, TOKENS)
    assert (found.text, found.finish_reason, found.tokens_in, found.tokens_out) == (" day", "length", None, None)
    assert found.choice["prompt_logprobs"][1]["15"]["logprob"] == -1.5
    sent = [(path, headers.get("authorization"), body) for path, headers, body in script.asked]
    assert sent == [("/v1/chat/completions", "Bearer a-key", CHAT), ("/v1/completions", None, TOKENS)]


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/v1/chat/completions"),
        ("/", "/v1/chat/completions"),
        ("/v1", "/v1/chat/completions"),
        ("/v1/", "/v1/chat/completions"),
        ("/judge", "/judge/v1/chat/completions"),
        ("/openai/v1", "/openai/v1/chat/completions"),
        ("/api/paas/v4/", "/api/paas/v4/chat/completions"),
        ("/v1beta/openai/", "/v1beta/openai/chat/completions"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/openai/v1/?api-version=preview", "/openai/v1/chat/completions?api-version=preview"),
        (
            "/openai/deployments/a?api-version=2026-01-01",
            "/openai/deployments/a/chat/completions?api-version=2026-01-01",
        ),
    ],
)
def test_an_address_may_have_any_path_and_a_query(script: Script, path: str, target: str) -> None:
    ask(script.url + path, key="a-key")
    ((asked, headers, _),) = script.asked
    assert asked == target
    assert headers["authorization"] == "Bearer a-key"
    assert headers.get("api-key") == ("a-key" if "api-version" in path else None)


@pytest.mark.parametrize("path", ["", "/v1", "/"])
def test_other_routes_are_beside_the_v1(script: Script, path: str) -> None:
    async def both() -> None:
        async with ModelClient(script.url + path, seconds=5, at_once=1) as client:
            await client.ask("/tokenize", {})
            await client.ask("/v1/models")

    asyncio.run(both())
    assert [one for one, _, _ in script.asked] == ["/tokenize", "/v1/models"]


def test_what_the_environment_has_for_openai_goes_to_nobody_else(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "a-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", DEAD)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Org: a-secret\n authorization : a-secret\nno header")
    ask(script.url)
    ask(script.url, key="ours")
    assert "a-secret" not in str(script.asked)
    assert [headers.get("authorization") for _, headers, _ in script.asked] == [None, "Bearer ours"]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_our_own_servers_are_asked_without_a_proxy(name: str, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, DEAD)
    assert ask(script.url).finish_reason == "stop"
    assert ask(script.url.replace("127.0.0.1", "localhost")).finish_reason == "stop"
    script.reply = lambda handler: handler.reply(200, b'{"data": [{"id": "m"}, {"id": "adapter"}]}')
    assert models_of(script.url, "") == ["m", "adapter"]


def test_others_are_asked_through_the_proxy_but_for_those_that_are_named_as_ours(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", script.url)
    monkeypatch.setenv("NO_PROXY", "not.example")
    ask("http://teacher.example")
    assert [path for path, _, _ in script.asked] == ["http://teacher.example/v1/chat/completions"]
    for address, own in (("http://teacher.invalid", True), ("http://not.example", False)):
        with pytest.raises(Unavailable, match="cannot be reached") as failed:
            ask(address, own=own)
        assert not failed.value.reached
    assert len(script.asked) == 1
    monkeypatch.setenv("HTTP_PROXY", DEAD)
    with pytest.raises(Unavailable, match="cannot be reached"):
        ask("http://teacher.example")


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_what_passes_may_be_sent_again_by_whoever_asked(status: int, script: Script) -> None:
    script.reply = lambda handler: handler.reply(status, b"not now", {"Retry-After": "7", "x-should-retry": "true"})
    with pytest.raises(Unavailable, match=f"the server answers {status}: not now") as failed:
        ask(script.url)
    assert (failed.value.retry_after, failed.value.reached) == (7.0, False)
    assert failed.value.wait(1) == 7.0
    assert len(script.asked) == 1


def test_a_server_is_waited_for_as_long_as_it_asks_and_a_minute_at_most(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [
        ("30", 30), (formatdate(time.time() + 30), 30), ("86400", 60), ("1e999", 60), ("-5", 1), ("nan", 1), ("soon", 1), ("", 1),
        (formatdate(time.time() - 5), 1), ("Mon, 01 Jan 99999 00:00:00 GMT", 1),
    ]  # fmt: skip
    monkeypatch.setattr("training.serving.http.random.uniform", lambda low, high: high)
    for said, wait in asked:
        script.reply = lambda handler, said=said: handler.reply(429, b"", {"Retry-After": said})  # type: ignore[misc]
        with pytest.raises(Unavailable) as failed:
            ask(script.url)
        assert failed.value.wait(1) == pytest.approx(wait, abs=3 if wait == 30 else 0), said
    assert [Unavailable("").wait(attempt) for attempt in (1, 2, 3, 20)] == [1, 2, 4, 60]


@pytest.mark.parametrize("status", [400, 401, 404, 422, 307])
def test_what_is_refused_is_refused_for_good(status: int, script: Script) -> None:
    script.reply = lambda handler: handler.reply(status, b"no " * 1000, {"Location": f"{script.url}/elsewhere"})
    with pytest.raises(Refused, match=rf"the server refuses the request \({status}\): no no") as refused:
        ask(script.url, key="a-key")
    assert refused.value.status == status
    assert len(str(refused.value)) < 400
    assert len(script.asked) == 1, "a redirect is not followed"


@pytest.mark.parametrize("charset", ["hex", "rot13", "idna", "undefined", "utf-99"])
@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_encoding_that_is_none(charset: str, status: int, script: Script) -> None:
    script.reply = lambda handler: handler.reply(
        status, b"no \x00 \xff", {"Content-Type": f"text/plain; charset={charset}"}
    )
    with pytest.raises(Unavailable if status != 400 else Refused) as failed:
        ask(script.url)
    assert "\x00" not in str(failed.value)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"<html>", "no JSON object"),
        (b"\xff\xfe", "no JSON object"),
        (b"[]", "no JSON object"),
        (b"[" * 100_000, "no JSON object"),
        (b'{"choices": [', "no JSON object"),
        (b"", "no JSON object"),
        (b"{}", "no chat completion"),
        (b'{"choices": []}', "no chat completion"),
        (b'{"choices": {"0": 1}}', "no chat completion"),
        (b'{"choices": ["text"]}', "no chat completion"),
        (b'{"choices": [{"message": {"content": null}}]}', "no chat completion"),
        (b'{"choices": [{"text": "a completion"}]}', "no chat completion"),
    ],
)
def test_nonsense_is_no_answer(raw: bytes, says: str, script: Script) -> None:
    script.reply = lambda handler: handler.reply(200, raw)
    with pytest.raises(Unavailable, match=says) as failed:
        ask(script.url)
    assert failed.value.reached


@pytest.mark.parametrize(
    "usage", ["many", [], {}, {"prompt_tokens": -1, "completion_tokens": "4"}, {"prompt_tokens": 1.5}]
)
def test_counts_that_are_none(usage: Any, script: Script) -> None:
    script.reply = lambda handler: handler.reply(200, json.dumps(ANSWER | {"usage": usage}).encode())
    found = ask(script.url)
    assert (found.tokens_in, found.tokens_out) == (None, None)


@pytest.mark.parametrize("status", [200, 400])
def test_an_answer_has_a_bound(status: int, script: Script) -> None:
    script.reply = lambda handler: handler.reply(status, b"x" * 200_000)
    with pytest.raises(Unavailable, match="far too long"):
        ask(script.url, most_bytes=100_000)
    script.reply = lambda handler: handler.drip(b"x" * 10_000)
    with pytest.raises(Unavailable, match="far too long"):
        ask(script.url, most_bytes=100_000)
    assert script.gone.wait(5), "the connection is given up"


@pytest.mark.parametrize(("encoding", "compress"), [("GZIP", gzip.compress), ("deflate", zlib.compress)])
def test_a_gateway_that_compresses_unasked(encoding: str, compress: Callable[[bytes], bytes], script: Script) -> None:
    """What is bounded is the answer itself: one that fits is read, and of one that does not no more than the bound is decompressed."""
    answer = json.dumps(ANSWER | {"more": "x" * 10**6}).encode()
    script.reply = lambda handler: handler.reply(200, compress(answer), {"Content-Encoding": encoding})
    assert ask(script.url, most_bytes=len(answer)).text == "Good \ufffd day"
    with pytest.raises(Unavailable, match="far too long"):
        ask(script.url, most_bytes=len(answer) - 1)
    bomb = compress(b"x" * 2**26)
    script.reply = lambda handler: handler.reply(200, bomb, {"Content-Encoding": encoding})
    tracemalloc.start()
    with pytest.raises(Unavailable, match="far too long"):
        ask(script.url, most_bytes=10**6)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**25
    script.reply = lambda handler: handler.reply(200, answer, {"Content-Encoding": encoding})
    with pytest.raises(Unavailable, match="cannot be read"):
        ask(script.url)
    script.reply = lambda handler: handler.reply(200, answer, {"Content-Encoding": "br"})
    with pytest.raises(Unavailable, match="compressed by br"):
        ask(script.url)


def test_what_follows_compressed_data_is_bounded_too(script: Script) -> None:
    """It decompresses to nothing, so that it would be kept, and read for as long as a request may take."""
    script.reply = lambda handler: handler.drip(b"x" * 1000, 0.0, {"Content-Encoding": "gzip"}, gzip.compress(b"{}"))
    with pytest.raises(Unavailable, match="far too long"):
        ask(script.url, seconds=20, most_bytes=10**5)
    assert script.gone.wait(5), "the connection is given up"


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "socks4://127.0.0.1:9"])
def test_a_proxy_of_a_kind_that_cannot_be_used(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(MendableError, match="ALL_PROXY names a proxy of a kind that cannot be used"):
        ask("http://teacher.example")
    with pytest.raises(Unavailable, match="cannot be reached"):
        ask("http://teacher.invalid", own=True)


def test_a_slow_server_holds_nothing_longer_than_its_time(script: Script) -> None:
    script.reply = lambda handler: handler.drip(b" ", 0.05)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="no answer within 1 seconds") as failed:
        ask(script.url, seconds=1)
    assert 0.9 < time.monotonic() - began < 4
    assert failed.value.reached
    assert script.gone.wait(5), "the connection is given up"


def test_a_connection_that_is_lost(script: Script) -> None:
    script.reply = lambda handler: handler.reply(200, json.dumps(ANSWER).encode(), half=True)
    with pytest.raises(Unavailable, match="the connection broke") as failed:
        ask(script.url)
    assert failed.value.reached
    script.stop()
    with pytest.raises(Unavailable, match="the server cannot be reached") as failed:
        ask(script.url)
    assert not failed.value.reached


@pytest.mark.processes
def test_who_only_knows_of_the_client_does_not_wait_for_the_sdk() -> None:
    code = (
        "import sys, training.teacher.client, training.evaluate.version, workers.serving.loading\n"
        "assert 'openai' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.model
def test_the_real_server_by_messages_and_by_token_ids(
    model_server: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through dead proxies: an answer held to its schema, the same answer for the same seed, and log-probabilities of a prompt."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, DEAD)
    schema = {
        "type": "object",
        "properties": {"sum": {"type": "integer"}},
        "required": ["sum"],
        "additionalProperties": False,
    }
    shape = {"type": "json_schema", "json_schema": {"name": "Sum", "strict": True, "schema": schema}}
    asked = {"model": model_server.name, "messages": CHAT["messages"], "max_tokens": 40, "seed": 7, "temperature": 1.0}

    async def questions() -> None:
        async with ModelClient(model_server.url, model_server.key, seconds=120, at_once=4) as client:
            first, again, whole = await asyncio.gather(
                client.complete(asked), client.complete(asked), client.complete(asked | {"response_format": shape})
            )
            assert first.text == again.text
            assert first.tokens_out == 40 or first.finish_reason == "stop"
            if whole.finish_reason == "stop":
                assert isinstance(json.loads(whole.text)["sum"], int)
            assert " " not in whole.text, "disable_any_whitespace"
            found = await client.ask("/tokenize", {"model": model_server.name, "messages": CHAT["messages"]})
            read = {"model": model_server.name, "prompt": found["tokens"], "max_tokens": 1, "temperature": 0}
            scored = await client.complete(read | {"prompt_logprobs": 0})
            assert len(scored.choice["prompt_logprobs"]) == scored.tokens_in == len(found["tokens"])
            with pytest.raises(Refused, match="404"):
                await client.complete(asked | {"model": "nobody"})
        async with ModelClient(model_server.url, "another key", seconds=120, at_once=4) as stranger:
            with pytest.raises(Refused) as refused:
                await stranger.complete(asked)
            assert refused.value.status == 401

    asyncio.run(questions())
    assert models_of(model_server.url, model_server.key)[0] == model_server.name
    with pytest.raises(Refused):
        models_of(model_server.url, "another key")


@pytest.mark.model
def test_a_server_adds_nothing_of_the_models_own_sampling(model_server: ServedModel) -> None:
    """The generation_config.json of the model says temperature 0.8. A request that says nothing gets vLLM's neutral values all the same."""
    asked = {"model": model_server.name, "messages": CHAT["messages"], "max_tokens": 40, "seed": 7}

    async def both() -> list[str]:
        async with ModelClient(model_server.url, model_server.key, seconds=120, at_once=1) as client:
            return [(await client.complete(asked | more)).text for more in ({}, {"temperature": 1.0, "top_k": 0})]

    silent, neutral = asyncio.run(both())
    assert silent == neutral
