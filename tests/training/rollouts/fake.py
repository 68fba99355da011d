"""A FAKE rollout server for tests: no model is behind it. It speaks as much of vLLM's protocol as `training.rollouts` does, and fails when told to.

Its "weights" are one number, read from the tensor `bias` of the file it is told to reload: each log-probability that it answers is that number. So a
test sees which weights wrote what, and whether they came before it.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from tests.training.http import Handler, Server

END = 2
FAULTS = ("hang", "500", "drop", "no_json", "no_tokens")


class FakeServer:
    """`written` holds the bodies of the requests for stories; `calls` the paths in their order. `lengths` says how long a story gets."""

    key, served_as, dtype = "key", "model", ""

    def __init__(self) -> None:
        self.fault: Callable[[str, dict[str, Any]], str] = lambda path, body: ""
        self.lengths: Callable[[dict[str, Any]], int] = lambda body: 5
        self.gate: Callable[[dict[str, Any]], object] = lambda body: None
        """Called before a story is answered: it may take its time."""
        self.bias = 0.0
        self.astray = 0.0
        """What it adds to what it was given, as a server does that kept an old matrix."""
        self.written: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.adapters: list[str] = []
        self.begun = 0
        self.held = False
        self.dead = False
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.listening: Server | None = None
        self.port = 0
        self.begin()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def begin(self) -> None:
        """Start it, or start it again: without the weights that it was given."""
        self.stop()
        self._stopped.clear()
        self.begun += 1
        self.bias, self.dead, self.held, self.adapters = 0.0, False, False, []
        self.listening = Server(("127.0.0.1", self.port), type("Handler", (_Handler,), {"fake": self}))
        self.port = self.listening.server_port
        threading.Thread(target=self.listening.serve_forever, args=[0.01], daemon=True).start()

    def alive(self) -> bool:
        return not self.dead

    def kill(self) -> None:
        self.stop()
        self.dead = True

    def stop(self) -> None:
        if self.listening is not None:
            self._stopped.set()
            self.listening.shutdown()
            self.listening.server_close()
            self.listening = None

    def answer(self, path: str, body: dict[str, Any]) -> Any:
        with self._lock:
            self.calls.append(path.partition("?")[0])
        if path.startswith("/pause"):
            self.held = True
        elif path.startswith("/resume"):
            self.held = False
        elif path in ("/collective_rpc", "/v1/load_lora_adapter"):
            assert self.held, "weights moved under requests"
            folder = Path(body["kwargs"]["weights_path"] if path == "/collective_rpc" else body["lora_path"])
            (file,) = folder.glob("*.safetensors")
            self.bias = float(load_file(file)["bias"][0]) + self.astray
            self.adapters += [body["lora_name"]] if "lora_name" in body else []
        elif path == "/v1/unload_lora_adapter":
            if body["lora_name"] not in self.adapters:
                raise KeyError(body["lora_name"])
            self.adapters.remove(body["lora_name"])
        elif path == "/v1/completions":
            listed = [{str(token): {"logprob": self.bias}} for token in body["prompt"][1:]]
            return {"choices": [{"prompt_logprobs": [None, *listed]}]}
        elif path == "/inference/v1/generate":
            return self._write(body)
        return {}

    def _write(self, body: dict[str, Any]) -> Any:
        with self._lock:
            self.written.append(body)
        bias = self.bias
        life = self.begun
        self.gate(body)
        if self.dead or life != self.begun:
            raise ConnectionAbortedError
        asked = body["sampling_params"]
        length = self.lengths(body)
        chance = random.Random(asked["seed"])
        tokens = [chance.randrange(3, 300) for _ in range(min(length, asked["max_tokens"]))]
        ended = length < asked["max_tokens"]
        tokens += [END] if ended else []
        content = [{"token_id": token, "logprob": bias} for token in tokens]
        return {
            "choices": [
                {"token_ids": tokens, "finish_reason": "stop" if ended else "length", "logprobs": {"content": content}}
            ]
        }

    def hang(self) -> None:
        self._stopped.wait(30)


class _Handler(Handler):
    fake: FakeServer

    def do_POST(self) -> None:  # noqa: N802 - the name that http.server looks for
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server is not self.fake.listening:  # a process that is dead answers nobody
            self.close_connection = True
            return
        body = json.loads(raw) if raw else {}
        match self.fake.fault(self.path, body):
            case "hang":
                self.fake.hang()
                self.close_connection = True
            case "500":
                self.reply(500, b"out of memory")
            case "drop":
                self.close_connection = True
                self.connection.close()
            case "no_json":
                self.reply(200, b"<html>")
            case "no_tokens":
                self.reply(200, b'{"choices": []}')
            case _:
                try:
                    answer = self.fake.answer(self.path, body)
                except ConnectionAbortedError:
                    self.close_connection = True
                    self.connection.close()
                except KeyError as unknown:
                    self.reply(404, str(unknown).encode())
                else:
                    self.reply(200, json.dumps(answer).encode())
