"""A FAKE model server for tests of reports: no model is behind it. It counts what it was asked, and fails on command.

It speaks as much of vLLM as `training.evaluate.served.Client` does: /v1/models, /tokenize, and /v1/completions in one answer, with
prompt_logprobs. A token is a word; it writes numbered words, as many as were asked for.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeServer:
    """`asked` counts stories by model, `scored` lists the texts that were scored, as (model, text)."""

    def __init__(self, *served: str, context: int = 2048) -> None:
        self.served, self.context = set(served), context
        self.asked: Counter[str] = Counter()
        self.scored: list[tuple[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        """The requests for stories."""
        self.share: dict[str, float] = {}
        """Words got of words asked, by model."""
        self.says: dict[str, str] = {}
        """A text instead of numbered words, by model."""
        self.refuses = ""
        """With these words, whatever is asked for."""
        self.hang_ups = 0
        """So many of the next stories break off in the middle of the answer."""
        self.most: int | None = None
        """After so many stories it writes no more until `go` is set."""
        self.go = threading.Event()
        self._words: dict[int, str] = {}
        self._tokens: dict[str, int] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": self}))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()

    def models(self) -> dict[str, Any]:
        return {"data": [{"id": name, "max_model_len": self.context} for name in sorted(self.served)]}

    def tokenize(self, body: dict[str, Any]) -> dict[str, Any]:
        words: list[str] = []
        for message in body["messages"]:
            words += [f"<{message['role']}>", *message["content"].split(), "<end>"]
        return {"tokens": [self._token(word) for word in [*words, *["<assistant>"] * body["add_generation_prompt"]]]}

    def _token(self, word: str) -> int:
        with self._lock:
            number = self._tokens.setdefault(word, len(self._tokens))
            self._words[number] = word
            return number

    def score(self, body: dict[str, Any], text: str) -> dict[str, Any]:
        """Words with an a are likely."""
        self.scored.append((body["model"], text))
        listed = [{str(one): {"logprob": -1.0 if "a" in self._words[one] else -2.0}} for one in body["prompt"]]
        return {"choices": [{"text": "", "finish_reason": "length", "prompt_logprobs": [None, *listed[1:]]}]}

    def write(self, body: dict[str, Any], text: str) -> dict[str, Any] | None:
        """None: it hangs up."""
        with self._lock:
            self.asked[body["model"]] += 1
            self.bodies.append(body)
            waits = self.most is not None and sum(self.asked.values()) > self.most
            hangs_up, self.hang_ups = self.hang_ups > 0, max(0, self.hang_ups - 1)
        if waits:
            self.go.wait(60)
        if hangs_up:
            return None
        target = re.search(r"approximately (\d+) words", text)
        assert target
        number = round(int(target[1]) * self.share.get(body["model"], 1.0))
        story = self.says.get(body["model"], " ".join(f"word{one}" for one in range(number)))
        return {"choices": [{"text": story, "finish_reason": "stop"}]}

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
        if path == "/v1/models":
            return 200, self.models()
        if self.refuses:
            return 400, {"error": {"message": self.refuses}}
        if body.get("model") not in self.served:
            return 404, {"error": {"message": f"The model {body.get('model')} does not exist."}}
        if path == "/tokenize":
            return 200, self.tokenize(body)
        if len(body["prompt"]) + body["max_tokens"] > self.context:
            return 400, {"error": {"message": f"The context of {self.context} tokens is exceeded."}}
        text = " ".join(self._words[one] for one in body["prompt"])
        return 200, self.score(body, text) if "prompt_logprobs" in body else self.write(body, text)


class _Handler(BaseHTTPRequestHandler):
    fake: FakeServer

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _answer(self, body: dict[str, Any]) -> None:
        status, found = self.fake.answer(self.path, body)
        data = json.dumps(found).encode()
        try:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data) + (100 if found is None else 0)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            pass  # whoever asked has gone

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass
