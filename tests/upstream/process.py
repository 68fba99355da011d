"""Start the scripted upstream as a process, and talk to it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "demo" / "model"


class Upstream:
    """The fake model server. `url` stays the same over a kill and a new start."""

    def __init__(self, *, rate: float = 300.0, context: int = 4096, stamps: bool = False) -> None:
        self.arguments = ["--rate", str(rate), "--context", str(context), *(["--stamps"] if stamps else [])]
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.upstream.server", "--port", str(self.port), "--tokenizer", str(TOKENIZER),
             *self.arguments],
            stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"port (\d+)", line)
        assert found, f"the scripted upstream said {line!r}"
        self.port = int(found[1])

    def script(self, *faults: dict[str, Any], **rest: Any) -> None:
        self._call("/script", {"faults": list(faults), **rest})

    def stats(self) -> dict[str, Any]:
        return dict(self._call("/stats"))

    def wait_asked(self, times: int, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while self.stats()["asked"] < times:
            assert time.monotonic() < end, f"the upstream was asked {self.stats()['asked']} times, not {times}"
            time.sleep(0.02)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
            self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _call(self, path: str, body: Any = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data=data, method="POST" if data else "GET")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())
