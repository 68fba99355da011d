"""vLLM killed while a version is on its way into service: whatever happens, a version is in service, and the promotion is finished.

And whoever was being written a story by it is written it to its end.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.narrators import NarratorProcess, check_ended, log_of, make_story, wait_for, wait_words
from tests.servers import DEMO_MODEL
from tests.workers.serving.adapted import adapted
from training.common.manifest import make_manifest, sha256_of
from training.serving.vllm import ModelServer
from workers.processes import processes_of
from workers.serving import own
from workers.serving.keeper import ServingKeeper
from writer.accounts.models import User
from writer.stories.models import Deployment, DeploymentState, Generation, ModelVersion, State
from writer.stories.operations.deploy import in_service
from writer.stories.operations.models import ensure_model_version
from writer.studio.models import Serving
from writer.studio.operations.deploy import promote, roll_back

pytestmark = [pytest.mark.model, pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("own model server")]
Settings = Any


@pytest.fixture
def home(own_model: ModelServer, settings: Settings, tmp_path: Path) -> ModelVersion:
    settings.VAR = tmp_path
    settings.MODEL_SERVER_URL, settings.MODEL_SERVER_KEY = own_model.url, own_model.key
    settings.MODEL, settings.MODEL_NAME = "demo", "demo model"
    settings.MODEL_CONTEXT = 512
    return ensure_model_version()


@pytest.fixture
def keeper(home: ModelVersion) -> ServingKeeper:
    return ServingKeeper()


def made(folder: Path, home: ModelVersion, *parts: str) -> ModelVersion:
    manifest = make_manifest(folder, list(parts))
    return ModelVersion.objects.create(
        name="a candidate", served_name=f"longhand-{folder.name}", tokenizer=str(folder / "model"), parent=home,
        folder=f"runs/{folder.name}", manifest=manifest, sha256=sha256_of(manifest),
    )  # fmt: skip


def asked_for(version: ModelVersion, admin: User) -> Deployment:
    return promote(by=admin, version_id=version.pk, overrule=True, reason="It is a test of ours.")


def looking(keeper: ServingKeeper, what: Callable[[], bool]) -> Callable[[], bool]:
    """Let the keeper look, and see to it that a version is in service whenever it has."""

    def look() -> bool:
        keeper.look()
        assert Deployment.objects.filter(state=DeploymentState.SERVING).count() == 1
        return what()

    return look


def test_the_sites_own_server(
    own_model: ModelServer,
    keeper: ServingKeeper,
    home: ModelVersion,
    admin: User,
    tmp_path: Path,
    narrate: Callable[..., NarratorProcess],
) -> None:
    """It comes back without its adapters, and is given them again; the story that it was writing goes on."""
    version = made(adapted(tmp_path / "studio" / "runs" / "1"), home, "model", "adapter")
    generation = make_story(target=500, model=("demo", str(DEMO_MODEL)))
    narrator = narrate(url=own_model.url, key=own_model.key, LEASE_SECONDS="20")
    wait_words(generation, 60, 90)
    asked = asked_for(version, admin)
    assert own_model.process is not None
    os.kill(own_model.process.pid, signal.SIGKILL)
    own_model.stop()
    for _ in range(3):
        looking(keeper, lambda: True)()
    asked.refresh_from_db()
    assert asked.state == DeploymentState.LOADING
    assert in_service() == home
    wait_for(lambda: "unavailable" in Generation.objects.get(pk=generation.pk).notice, 60)
    before = log_of(generation)
    assert Generation.objects.get(pk=generation.pk).state == State.RUNNING
    own_model.start(stdout=subprocess.DEVNULL)
    own_model.wait_ready()
    wait_for(looking(keeper, lambda: in_service() == version), 60, "it was not put in service")
    check_ended(generation, before)
    assert generation.attempt == 1
    assert narrator.alive


def test_a_server_of_its_own(keeper: ServingKeeper, home: ModelVersion, admin: User, tmp_path: Path) -> None:
    """Whole weights: their server is killed while it starts, and again when it serves."""
    folder = tmp_path / "studio" / "runs" / "2"
    shutil.copytree(DEMO_MODEL, folder / "model", ignore=shutil.ignore_patterns("*.svg"))
    version = made(folder, home, "model")
    asked_for(version, admin)
    keeper.look()
    try:
        wait_for(lambda: own.running(version), 20, "its server was not started")
        first = {process.pid for process in processes_of(own.server_folder(version))}
        kill(version)
        wait_for(looking(keeper, lambda: in_service() == version), 150, "it was not put in service")
        assert not first & {process.pid for process in processes_of(own.server_folder(version))}
        kill(version)
        roll_back(by=admin)
        wait_for(looking(keeper, lambda: in_service() == home), 20, "nothing went back")
    finally:
        own.stop(version, Serving.objects.get(version=version))
    assert not own.running(version)


def kill(version: ModelVersion) -> None:
    for process in processes_of(own.server_folder(version)):
        process.kill()
    wait_for(lambda: not own.running(version), 20, "it is still there")
