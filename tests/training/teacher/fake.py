"""A FAKE teacher for tests: no model is behind it. It answers by a function of the test's, and fails in every way that it is told to.

It speaks as much of the OpenAI protocol as `training.teacher` does: /v1/chat/completions in one answer.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.training.http import Handler, Server

FAULTS = ("hang", "429", "500", "half", "drop", "no_json", "no_chat", "cut", "refuse", "huge", "key", "no_model")


class FakeTeacher:
    """`answer` makes the text of an answer from the body of a request; `fault` names one of FAULTS, or says "" for none.

    `asked` holds the bodies in their order, `at_once` the most that waited together for their answers to begin, `keys` the keys that were sent.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], str]) -> None:
        self.answer = answer
        self.fault: Callable[[dict[str, Any], int], str] = lambda body, time: ""
        self.words = b""
        """What it says to the fault "refuse STATUS"."""
        self.retry_after: str | None = None
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.at_once = 0
        self._now = 0
        self._times: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._server = Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": self}))
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()

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
        try:
            return self.fault(body, time_of_same)
        finally:
            with self._lock:
                self._now -= 1

    def hang(self) -> None:
        self._stopped.wait(30)


class _Handler(Handler):
    fake: FakeTeacher

    def do_POST(self) -> None:  # noqa: N802 - the name that http.server looks for
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.fake.keys.add(self.headers.get("Authorization", ""))
        fault = self.fake.begin(body)
        try:
            self._answer(body, fault)
        except OSError:
            self.close_connection = True

    def _answer(self, body: dict[str, Any], fault: str) -> None:
        if fault == "hang":
            self.fake.hang()
            self.close_connection = True
        elif fault in ("429", "500"):
            headers = {"Retry-After": self.fake.retry_after} if self.fake.retry_after else {}
            self.reply(int(fault), b'{"error": {"message": "not now"}}', headers)
        elif fault == "refuse":
            self.reply(400, b'{"error": {"message": "maximum context length exceeded"}}')
        elif fault.startswith("refuse "):
            self.reply(int(fault.removeprefix("refuse ")), self.fake.words)
        elif fault == "key":
            self.reply(401, b"{}")
        elif fault == "no_model":
            self.reply(404, b"{}")
        elif fault == "no_chat":
            self.reply(200, b'{"choices": []}')
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
            self.reply(200, raw, half=fault == "half")
