"""`manage.py up`: starts the processes of one machine, keeps them running, and stops them in the right order.

    lock var/  ->  the model: checked, or the starter model downloaded
               ->  PostgreSQL, Redis, vLLM (each unless its URL is set)  ->  migrate, demo accounts
               ->  web, narrator, worker, trainer  ->  the page answers: print the address  ->  monitor

One thread for each program starts it, forwards its output, and restarts it when it dies, after a pause that grows with repeated
short runs. Every program has a guard (`training.serving.guard`), so that no process is left when the supervisor is killed. The
guards also hold the lock of var/, so that the next start waits for the last of them.

Trainings, and model servers of single versions, are started by the trainer and outlive it. They inherit one end of a socket, whose other
end is here: when it closes they save and end.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from training.serving.process import CannotStart, Process, alive, free_port
from training.serving.vllm import ModelServer
from workers import starter
from workers.embedded import running
from workers.embedded.postgres import PostgreSQL
from workers.embedded.redis import Redis
from workers.embedded.state import home, private_folder, server_owner
from workers.output import Output
from workers.programs import Program, Site, programs
from workers.servable import check_model

ONCE = ("starter", "prepare")
LONG_RUN = 20.0
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 20.0
STOP_ORDER = (("web", "narrator", "worker", "trainer"), ("vllm", "redis"), ("postgres",))
SAVING = 120.0
"""Seconds that trainings have to save when the site shuts down."""


Server = PostgreSQL | Redis | ModelServer | Program


class Supervisor:
    def __init__(self, site: Site) -> None:
        self.site = site
        self.output = Output(site.var / "log")
        self.stopping = threading.Event()
        self._changing = threading.Lock()
        self._processes: dict[str, Process] = {}
        self._threads: list[threading.Thread] = []
        self._hold: tuple[int, ...] = ()
        self._accounts: list[dict[str, Any]] = []
        self._environment: dict[str, str] = {}
        self._socket, self._site_socket = socket.socketpair()
        self._failed: str | None = None
        self._began = time.monotonic()

    def run(self) -> int:
        owner = None if self.site.database_url else server_owner()
        state = private_folder(self.site.var) if self.site.database_url else home(self.site.var, owner)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        try:
            self._take_lock()
            port = self._port()
            self._choose_model()
            model = self._start_servers(state)
            self._prepare()
            self._address = f"http://{'127.0.0.1' if self.site.host in ('', '0.0.0.0') else self.site.host}:{port}"  # noqa: S104
            for program in programs(self.site, port, self._child_env(), self._site_socket.fileno()):
                self._start_thread(program)
            if not self.stopping.is_set() and self._wait_for_page(port):
                self._welcome(model)
            if model is not None:
                self._wait_for_model(model)
            self.stopping.wait()
        except CannotStart as error:
            self._failed = str(error)
        finally:
            self._stop()
        if self._failed:
            print(self._failed, file=sys.stderr)
            return 1
        return 0

    # Starting

    def _take_lock(self) -> None:
        """Allow one run in a folder. A killed run holds the lock until the last of its programs has ended: wait for that."""
        announced = False
        end = time.monotonic() + 90
        while (descriptor := running.lock(self.site.var)) is None:
            try:
                notes = json.loads((self.site.var / "run.json").read_text())
            except (OSError, ValueError):
                notes = {}
            pid = notes.get("processes", {}).get("supervisor")
            if pid is None or alive(pid) or time.monotonic() > end:
                where = f" at {notes['address']}" if notes.get("address") else ""
                who = f" (process {pid})" if pid else ""
                raise CannotStart(f"Longhand is running already{where}{who}. Stop that one first, with Ctrl-C.")
            if not announced:
                self.output.say("An earlier run was killed; waiting for the last of its programs to end.")
                announced = True
            if self.stopping.wait(0.1):
                raise CannotStart("Stopped while waiting for an earlier run to end.")
        self._hold = (descriptor,)

    def _port(self) -> int:
        """The port to listen on, after a check that it is free; 0 chooses one."""
        if self.site.port == 0:
            return free_port()
        family = socket.AF_INET6 if ":" in self.site.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.site.host, self.site.port))
            except OSError as error:
                raise CannotStart(
                    f"Cannot listen on {self.site.host}, port {self.site.port}: {error.strerror}. "
                    f"PORT={self.site.port + 1} make run takes another."
                ) from None
        return self.site.port

    def _choose_model(self) -> None:
        """Make the starter model, if it is to be served and is not there; check any model that is to be served here. Raises CannotStart."""
        site = self.site
        if site.starter:
            if not starter.folder(site.var).is_dir():
                self.output.say(f"Downloading and converting the starter model, {starter.NAME} (93 MB, once) ...")
            code, last = self._run_once("starter", "workers.starter", str(site.var))
            if self.stopping.is_set():
                raise CannotStart("Stopped while the starter model was being made.")
            if code == 0:
                self.site = replace(site, model=str(starter.folder(site.var)), served_as=starter.NAME)
            else:
                self._environment[starter.PROBLEM] = last
                self.output.say(
                    f"The starter model is not available: {last}. The small test model, whose stories make no sense, is served "
                    "instead. The next start tries again; MODEL=... make run serves another model."
                )
        if not site.model_server_url:
            check_model(self.site.model, context=site.model_context)

    def _start_servers(self, state: Path) -> ModelServer | None:
        """Start the servers without a URL, and wait until the database and Redis answer. The model is still loading then."""
        env = self._environment
        servers: list[PostgreSQL | Redis] = []
        if not self.site.database_url:
            postgres = PostgreSQL(state)
            postgres.prepare()
            servers.append(postgres)
            env["DATABASE_URL"] = postgres.url
            env["WORKER_DATABASE_URL"] = postgres.worker_url
        if not self.site.redis_url:
            redis = Redis(self.site.var)
            redis.prepare()
            servers.append(redis)
            env["REDIS_URL"] = redis.url
        for server in servers:
            self._start_thread(server)
        model = None
        if not self.site.model_server_url:
            model = ModelServer(self.site.model, self.site.served_as, context=self.site.model_context)
            env |= {"MODEL_SERVER_URL": model.url, "MODEL_SERVER_KEY": model.key}
        for server in servers:
            server.wait_ready()
        self.output.say(f"The database and Redis are up ({self._elapsed()}).")
        if model is not None:
            self._start_thread(model)
        return model

    def _child_env(self) -> dict[str, str]:
        return (
            dict(os.environ)
            | self._environment
            | {
                "DJANGO_SETTINGS_MODULE": "webapp.settings",
                "PYTHONUNBUFFERED": "1",
                "PYTHONWARNINGS": "ignore:You're running the worker with superuser",  # Celery; here it only reads JSON
            }
        )

    def _prepare(self) -> None:
        """Run the migrations and make the demo accounts."""
        code, last = self._run_once("prepare", "workers.prepare", *([] if self.site.debug else ["--static"]))
        if self.stopping.is_set():
            return
        if code != 0:
            self.output.line("prepare", last)
            raise CannotStart("The database could not be brought up to date; the lines above say why.")
        self._accounts = json.loads(last)
        self.output.say(f"The database is up to date ({self._elapsed()}).")

    def _run_once(self, name: str, module: str, *arguments: str) -> tuple[int, str]:
        """Run a module in a process that is killed with the supervisor. Returns its exit status and the last line that it printed."""
        process = Process(
            [sys.executable, "-m", module, *arguments],
            env=self._child_env(),
            cwd=self.site.root,
            stdout=subprocess.PIPE,
        )
        with self._changing:
            self._processes[name] = process
        if self.stopping.is_set():
            process.ask_to_stop()
        assert process.output is not None
        last = ""
        for raw in process.output:
            line = raw.decode(errors="replace").rstrip()
            if last:
                self.output.line(name, last)
            last = line
        code = process.wait()
        with self._changing:
            self._processes.pop(name, None)
        process.stop()
        return code, last

    # Monitoring

    def _start_thread(self, server: Server) -> None:
        thread = threading.Thread(target=self._run_program, args=[server], name=server.name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run_program(self, server: Server) -> None:
        pause = FIRST_PAUSE
        while not self.stopping.is_set():
            began = time.monotonic()
            reason = "could not be started"
            try:
                with self._changing:
                    if self.stopping.is_set():
                        return
                    process = server.start(subprocess.PIPE, self._hold)
                    self._processes[server.name] = process
                self._note()
                assert process.output is not None
                for raw in process.output:
                    self.output.line(server.name, raw.decode(errors="replace").rstrip())
                code = process.wait()
                reason = f"ended with status {code}" if code < 128 else f"was killed by signal {code - 128}"
                process.stop()
            except (CannotStart, OSError) as error:
                reason = f"could not be started: {error}"
            if self.stopping.is_set():
                return
            pause = FIRST_PAUSE if time.monotonic() - began > LONG_RUN else min(2 * pause, LONGEST_PAUSE)
            self.output.died(server.name, f"{server.name} {reason}; starting it again in {pause:.1f} s.")
            self.stopping.wait(pause)

    def _note(self) -> None:
        """Write run.json again, since a process has a new id."""
        with self._changing:
            pids = {name: process.pid for name, process in self._processes.items() if name not in ONCE}
            running.write(
                self.site.var,
                {
                    "address": getattr(self, "_address", ""),
                    "processes": {"supervisor": os.getpid(), **pids},
                    "accounts": self._accounts,
                    "environment": self._environment,
                },
            )

    def _wait_for_page(self, port: int) -> bool:
        host = "127.0.0.1" if self.site.host in ("", "0.0.0.0") else self.site.host  # noqa: S104
        announced = False
        while not self.stopping.is_set():
            connection = http.client.HTTPConnection(host, port, timeout=5)
            with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/healthz")
                if connection.getresponse().status == 200:
                    return True
            if not announced and time.monotonic() - self._began > 120:
                self.output.say("The page does not answer yet. The lines of `web` above may say why.")
                announced = True
            self.stopping.wait(0.1)
        return False

    def _welcome(self, model: ModelServer | None) -> None:
        self._note()
        lines = ["", f"Longhand is at {self._address} (ready after {self._elapsed()})"]
        if self._accounts:
            lines.append("Sign in with one of these demo accounts:")
            lines += [f"    {a['role']:8} {a['email']:28} {a['password']}" for a in self._accounts]
        if model is not None:
            lines.append("The model is still loading; a story that you start now waits for it.")
        lines += ["Ctrl-C stops everything.", ""]
        for line in lines:
            self.output.say(line)

    def _wait_for_model(self, model: ModelServer) -> None:
        while not self.stopping.is_set():
            if model.ready():
                self.output.say(f"The model is ready ({self._elapsed()}).")
                return
            self.stopping.wait(0.3)

    # Stopping

    def _on_signal(self, *_: object) -> None:
        if self.stopping.is_set():  # the second signal: stop all at once
            for process in list(self._processes.values()):
                process.ask_to_stop()
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self.stopping.set()
        if (
            making := self._processes.get("starter")
        ) is not None:  # a download may take minutes, and nothing waits for it
            making.ask_to_stop()

    def _stop(self) -> None:
        self.stopping.set()
        with self._changing:
            left = dict(self._processes)
        if left:
            self.output.say("Stopping.")
        for group in (ONCE, *STOP_ORDER):
            found = [left[name] for name in group if name in left]
            for process in found:
                process.ask_to_stop()
            for process in found:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(process.grace + 15)
            if "trainer" in group:
                self._end_trainings()
        for thread in self._threads:
            thread.join(5)
        if self._hold:
            (self.site.var / "run.json").unlink(missing_ok=True)
            self.output.say("Stopped.")

    def _end_trainings(self) -> None:
        """Close the socket, and wait until trainings and model servers have closed their ends."""
        self._site_socket.close()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.settimeout(2)
            try:
                self._socket.recv(1)
            except TimeoutError:
                self.output.say("Waiting for trainings to save. Ctrl-C again does not wait.")
                self._socket.settimeout(SAVING)
                self._socket.recv(1)
        self._socket.close()

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._began:.0f} s"
