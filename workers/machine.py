"""This machine in the database: its GPUs, its disk, and when it was last seen, by the database's clock; and its address in the network."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from typing import NamedTuple

import psutil
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from workers.folders import private, size, studio
from writer.studio.models import Gpu, Machine


class Card(NamedTuple):
    number: int
    name: str
    memory: int


def cards() -> list[Card]:
    """The GPUs that this process may use. A machine without a GPU counts as one card, its processor."""
    try:
        listing = subprocess.run(
            ["nvidia-smi", "--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return [Card(0, "processor", 0)]
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = [read_card(line) for line in listing.splitlines() if line.strip()]
    if allowed is not None:
        numbers = {part.strip() for part in allowed.split(",")}
        found = [card for card in found if str(card.number) in numbers]
    return found or [Card(0, "processor", 0)]


def read_card(line: str) -> Card:
    """Parse a line of nvidia-smi.

    >>> read_card("3, NVIDIA A100-SXM4-80GB, 81920")
    Card(number=3, name='NVIDIA A100-SXM4-80GB', memory=85899345920)
    """
    index, name, memory = (part.strip() for part in line.split(","))
    return Card(int(index), name, int(memory) * 2**20)


def register() -> Machine:
    """Register this machine and its GPUs. A missing GPU is removed when nothing holds it."""
    found = cards()
    with transaction.atomic():
        machine, _ = Machine.objects.update_or_create(name=socket.gethostname(), defaults={"seen": Now()})
        for card in found:
            Gpu.objects.update_or_create(
                machine=machine, index=card.number, defaults={"name": card.name, "memory": card.memory}
            )
        gone = Gpu.objects.filter(machine=machine, run=None, serving=None)
        gone.exclude(index__in=[card.number for card in found]).delete()
    return machine


def heartbeat(machine: Machine, *, measure: bool) -> None:
    """Store the time; with `measure` also the disk usage, for which all files are read."""
    Machine.objects.filter(pk=machine.pk).update(seen=Now())
    if measure:  # which takes its time where there are many files
        folder = private(studio())
        disk = shutil.disk_usage(folder)
        found = {"disk_total": disk.total, "disk_free": disk.free, "disk_runs": size(folder)}
        Machine.objects.filter(pk=machine.pk).update(seen=Now(), **found)


def address() -> str:
    """The address at which other machines reach this one: MACHINE_ADDRESS, or the one from which it reaches others."""
    if settings.MACHINE_ADDRESS:
        return str(settings.MACHINE_ADDRESS)
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(
            ("192.0.2.1", 9)
        )  # kept for documentation (RFC 5737): it only chooses a route, and nothing is sent
        return str(probe.getsockname()[0])
    return "127.0.0.1"


def interface_of(own: str) -> str:
    """The network interface that has this address or host name; empty if none has."""
    with contextlib.suppress(OSError):
        own = socket.gethostbyname(own)
    interfaces = psutil.net_if_addrs().items()
    return next((name for name, found in interfaces if any(one.address == own for one in found)), "")
