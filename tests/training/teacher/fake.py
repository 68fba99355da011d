"""A FAKE teacher for tests: no model is behind it. It answers by a function of the test's, and fails in every way that it is told to.

It speaks as much of the OpenAI protocol as `training.teacher` does: /v1/chat/completions in one answer.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = ("hang", "429", "500", "half", "drop", "no_json", "no_chat", "cut", "refuse", "huge", "key", "no_model")


class FakeTeacher:
    """`answer` makes the text of an answer from the body of a request; `fault` names one of FAULTS, or says "" for none.

    `asked` holds the bodies in their order, `at_once` the most that were in flight together, `keys` the keys that were sent.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], str]) -> None:
        self.answer = answer
        self.fault: Callable[[dict[str, Any], int], str] = lambda body, time: ""
        self.seconds = 0.0
        self.retry_after: str | None = None
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.at_once = 0
        self._now = 0
        self._times: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": self}))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def begin(self, body: dict[str, Any]) -> str:
        """The fault of this request; how often the same was asked before counts."""
        with self._lock:
            self.asked.append(body)
            same = json.dumps(body, sort_keys=True)
            time_of_same = self._times[same]
            self._times[same] += 1
            self._now += 1
            self.at_once = max(self.at_once, self._now)
        return self.fault(body, time_of_same)

    def end(self) -> None:
        with self._lock:
            self._now -= 1

    def hang(self) -> None:
        self._stopped.wait(30)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeTeacher

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.fake.keys.add(self.headers.get("Authorization", ""))
        fault = self.fake.begin(body)
        try:
            time.sleep(self.fake.seconds)
            self._answer(body, fault)
        except OSError:
            self.close_connection = True
        finally:
            self.fake.end()

    def _answer(self, body: dict[str, Any], fault: str) -> None:
        if fault == "hang":
            self.fake.hang()
            self.close_connection = True
        elif fault in ("429", "500"):
            headers = {"Retry-After": self.fake.retry_after} if self.fake.retry_after else {}
            self._send(int(fault), b'{"error": {"message": "not now"}}', headers)
        elif fault == "refuse":
            self._send(400, b'{"error": {"message": "maximum context length exceeded"}}')
        elif fault == "key":
            self._send(401, b"{}")
        elif fault == "no_model":
            self._send(404, b"{}")
        elif fault == "no_chat":
            self._send(200, b'{"choices": []}')
        elif fault == "drop":
            self.close_connection = True
            self.connection.close()
        else:
            text = self.fake.answer(body)
            if fault in ("no_json", "cut"):
                text = text[: len(text) // 2]
            if fault == "huge":
                text = "x" * (20 * 2**20)
            choice = {
                "message": {"role": "assistant", "content": text},
                "finish_reason": "length" if fault == "cut" else "stop",
            }
            usage = {"prompt_tokens": 15, "completion_tokens": 10}
            raw = json.dumps({"choices": [choice], "usage": usage}).encode()
            self._send(200, raw, half=fault == "half")

    def _send(self, status: int, raw: bytes, headers: dict[str, str] | None = None, *, half: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw[: len(raw) // 2] if half else raw)
        if half:
            self.close_connection = True
