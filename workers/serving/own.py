"""vLLM servers of single versions, besides the site's own: each is a process with its own GPU, found by its tag."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import psutil
from django.conf import settings
from django.db import transaction

from training.serving.process import free_port, start_apart
from training.serving.vllm import SOCKETS, ModelServer
from workers.folders import private, studio, version_folder
from workers.processes import ROOT, kill, processes_of, site_socket, tag
from workers.serving.loading import NoRoom
from writer.stories.models import ModelVersion
from writer.studio.models import Gpu, Machine, Serving


def server_folder(version: ModelVersion) -> Path:
    """The folder that tags the processes of its server. It is not the version's folder, which may tag a run."""
    return version_folder(version) / "server"


def running(version: ModelVersion) -> bool:
    return bool(processes_of(server_folder(version)))


def start(version: ModelVersion, serving: Serving, machine: Machine) -> None:
    """Reserve a GPU, if the machine has any, and start a server. Raises NoRoom if none is free."""
    gpu = _take_gpu(serving, machine)
    server = ModelServer(
        str(version_folder(version) / "model"),
        version.served_name,
        context=settings.MODEL_CONTEXT,
        key=settings.MODEL_SERVER_KEY,
        port=free_port(),
        adapters=0,
    )
    serving.url, serving.machine = server.url, machine
    serving.save()
    environment = server.environment() | tag(server_folder(version))
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = str(gpu)
    log = private(studio() / "log") / f"vllm-{version.pk}.log"
    start_apart(server.command(), env=environment, cwd=ROOT, log=log, site_socket=site_socket(), sockets=SOCKETS)


def _take_gpu(serving: Serving, machine: Machine) -> int | None:
    with transaction.atomic():
        gpus = list(Gpu.objects.select_for_update().filter(machine=machine, memory__gt=0))
        if not gpus:
            return None
        held = next((gpu for gpu in gpus if gpu.serving_id == serving.pk), None)
        free = held or next((gpu for gpu in gpus if gpu.run_id is None and gpu.serving_id is None), None)
        if free is None:
            raise NoRoom("All GPUs are in use. It is loaded when one is free.")
        free.serving = serving
        free.save(update_fields=["serving"])
        return free.index


def stop(version: ModelVersion, serving: Serving, seconds: float = 15.0) -> None:
    """Ask the server to end, kill it if it does not, and then free its GPU."""
    folder = server_folder(version)
    for process in processes_of(folder):
        with contextlib.suppress(psutil.Error):
            process.terminate()
    end = time.monotonic() + seconds
    while processes_of(folder) and time.monotonic() < end:
        time.sleep(0.1)
    if kill(folder):
        Gpu.objects.filter(serving=serving).update(serving=None)
