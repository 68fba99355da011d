"""Shows the output of all processes on one terminal, with their names, and writes complete logs to files in var/log."""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections import deque
from logging.handlers import RotatingFileHandler
from pathlib import Path

from workers.embedded.state import private_folder

COLOURS = {"web": 36, "narrator": 32, "worker": 35, "trainer": 95, "vllm": 33, "postgres": 34, "redis": 31}
SERVERS = ("postgres", "redis", "vllm")
"""Third-party servers: the terminal shows only their errors, the file everything."""
_ERROR = re.compile(
    r"\b(ERROR|CRITICAL|FATAL|PANIC|Traceback|error:)|^\d+:\w .* # (?!WARNING|oO0|Redis|Config|Server|User)"
)
_EXPECTED = "the database system is starting up"
LOG_BYTES = 5_000_000


class Output:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._files: dict[str, logging.Logger] = {}
        self._last: dict[str, deque[str]] = {}
        self._colour = sys.stdout.isatty()

    def say(self, text: str) -> None:
        """Print a line of the supervisor."""
        self._print(text)

    def line(self, name: str, text: str) -> None:
        with self._lock:
            self._file(name).info("%s", text)
            self._last.setdefault(name, deque(maxlen=15)).append(text)
        if name not in SERVERS or (_ERROR.search(text) and _EXPECTED not in text):
            self._print(self._label(name) + text)

    def died(self, name: str, text: str) -> None:
        """Report that a process died, after its last lines if they were not shown already."""
        with self._lock:
            last = list(self._last.pop(name, ()))
            self._file(name).info("%s", text)
        if name in SERVERS:
            for said in last:
                self._print(self._label(name) + said)
        self._print(self._label(name) + text)

    def _label(self, name: str) -> str:
        label = f"{name:>8} | "
        return f"\033[{COLOURS.get(name, 37)}m{label}\033[0m" if self._colour else label

    def _file(self, name: str) -> logging.Logger:
        if name not in self._files:
            private_folder(self._folder)
            path = self._folder / f"{name}.log"
            path.touch(mode=0o600)
            handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1)
            handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
            logger = logging.Logger(f"output.{name}")  # noqa: LOG001 (apart from the root: it must not print)
            logger.addHandler(handler)
            self._files[name] = logger
        return self._files[name]

    def _print(self, text: str) -> None:
        try:
            with self._lock:
                print(text, flush=True)
        except OSError:  # the terminal is gone; the files are still written
            pass
