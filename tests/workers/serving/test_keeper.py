"""Versions on the real vLLM: loaded when needed, deployed after a smoke test, refused if a byte was changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from django.utils import timezone

from tests.servers import ServedModel
from tests.workers.serving.adapted import adapted
from training.common.manifest import make_manifest, sha256_of
from training.common.text import Message
from training.evaluate.served import Client, Served
from training.serving.http import ServerFailed
from training.serving.vllm import ADAPTERS
from workers.addresses import site_server
from workers.serving.keeper import ServingKeeper, _as_adapter
from workers.serving.loading import load_adapter, served_names, unload_adapter
from writer.accounts.models import User
from writer.stories.models import Deployment, DeploymentState, ModelVersion
from writer.stories.operations.deploy import in_service
from writer.stories.operations.models import ensure_model_version
from writer.studio.models import Dataset, DatasetKind, Run, Serving, ServingState
from writer.studio.operations.deploy import promote, roll_back

PROMPT: list[Message] = [{"role": "user", "content": "Write a short story."}]
COMPLETION: list[Message] = [
    {"role": "assistant", "content": "The lamp was lit at six, and nobody came up the stairs that night."}
]
pytestmark = [pytest.mark.model, pytest.mark.django_db(transaction=True)]
Settings = Any


@pytest.fixture
def home(model_server: ServedModel, settings: Settings, tmp_path: Path) -> ModelVersion:
    settings.VAR = tmp_path
    settings.MODEL_SERVER_URL, settings.MODEL_SERVER_KEY = model_server.url, model_server.key
    settings.MODEL, settings.MODEL_NAME = model_server.name, "demo model"
    version = ensure_model_version()
    assert version.served_name == model_server.name
    return version


@pytest.fixture
def version(home: ModelVersion, tmp_path: Path) -> Iterator[ModelVersion]:
    folder = adapted(tmp_path / "studio" / "runs" / "1")
    manifest = make_manifest(folder, ["model", "adapter"])
    made = ModelVersion.objects.create(
        name="demo model, dpo 1", served_name=f"longhand-{tmp_path.name}", tokenizer=str(folder / "model"), parent=home,
        folder="runs/1", manifest=manifest, sha256=sha256_of(manifest),
    )  # fmt: skip
    yield made
    unload_adapter(*site_server(), made.served_name)


@pytest.fixture
def keeper(home: ModelVersion) -> ServingKeeper:
    return ServingKeeper()


def test_promoted_and_rolled_back(
    keeper: ServingKeeper, version: ModelVersion, home: ModelVersion, admin: User
) -> None:
    asked = promote(by=admin, version_id=version.pk, overrule=True, reason="It is a test of ours.")
    assert in_service() == home
    keeper.look()
    asked.refresh_from_db()
    assert (asked.state, asked.problem) == (DeploymentState.SERVING, "")
    assert len(asked.grounds["proof"].split()) >= 5
    assert in_service() == version
    serving = Serving.objects.get(version=version)
    assert (serving.adapter, serving.state) == (True, ServingState.READY)
    roll_back(by=admin)
    keeper.look()
    assert in_service() == home
    assert version.served_name in (served_names(*site_server()) or ()), "it stays loaded, to go back to"


def test_the_adapter_is_what_was_merged(keeper: ServingKeeper, version: ModelVersion, admin: User) -> None:
    """Log-probabilities of the served adapter, beside those of the merged weights by transformers."""
    from transformers import AutoModelForCausalLM

    promote(by=admin, version_id=version.pk, overrule=True, reason="It is a test of ours.")
    keeper.look()

    async def score(name: str) -> tuple[float, list[int]]:
        async with Client(Served(*site_server()[:1], name, site_server()[1])) as client:
            scored = await client.score(PROMPT, COMPLETION)
            whole = await client._tokens([*PROMPT, *COMPLETION], opens=False)
            return scored.nats, [*whole, scored.tokens]

    ours, ids = asyncio.run(score(version.served_name))
    base, _ = asyncio.run(score(version.parent.served_name))  # type: ignore[union-attr]
    learned = ids.pop()
    model = AutoModelForCausalLM.from_pretrained(version.tokenizer, dtype=torch.float32)
    with torch.no_grad():
        logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    picked = logprobs[range(len(ids) - 1), ids[1:]]
    theirs = -float(picked[-learned:].sum())
    assert ours == pytest.approx(theirs, rel=0.02)  # bfloat16
    assert abs(base - theirs) > 10 * abs(ours - theirs)


def test_a_version_that_continues_an_adapter_is_an_adapter_of_the_same_model(
    keeper: ServingKeeper, version: ModelVersion, home: ModelVersion, admin: User, tmp_path: Path
) -> None:
    folder = adapted(tmp_path / "studio" / "runs" / "2", seed=2, adapter=tmp_path / "studio" / "runs" / "1" / "adapter")
    manifest = make_manifest(folder, ["model", "adapter"])
    made = ModelVersion.objects.create(
        name="demo model, dpo 2", served_name=f"longhand-{tmp_path.name}-2", tokenizer=str(folder / "model"), parent=version,
        folder="runs/2", manifest=manifest, sha256=sha256_of(manifest),
    )  # fmt: skip
    data = Dataset.objects.create(name="data", kind=DatasetKind.PREFERENCE, folder="data")
    run = Run.objects.create(
        recipe="dpo", settings={"merge_adapter": False}, base=version, dataset=data, version=made, state="done", finished=timezone.now()
    )  # fmt: skip
    try:
        promote(by=admin, version_id=made.pk, overrule=True, reason="It is a test of ours.")
        keeper.look()
        serving = Serving.objects.get(version=made)
        assert (serving.adapter, serving.state, serving.problem) == (True, ServingState.READY, "")
        assert in_service() == made
    finally:
        unload_adapter(*site_server(), made.served_name)
    Serving.objects.filter(version=made).delete()
    Run.objects.filter(pk=run.pk).update(settings={"merge_adapter": True})
    assert not _as_adapter(made, {home.served_name}), "its adapter changes the merged weights"


def test_who_has_no_adapter_writes_without_one(home: ModelVersion, tmp_path: Path) -> None:
    """All places for adapters are taken, and texts with and without one are read and written in the same steps."""
    names = [f"{tmp_path.name}-{number}" for number in range(ADAPTERS)]
    folder = adapted(tmp_path / "another", seed=2)

    async def score(name: str) -> float:
        async with Client(Served(*site_server()[:1], name, site_server()[1])) as client:
            return (await client.score(PROMPT, COMPLETION)).nats

    async def write(name: str, seed: int) -> None:
        async with Client(Served(*site_server()[:1], name, site_server()[1])) as client:
            await client.write(title="T", premise="P", target=40, seed=seed, context=512)

    async def together() -> list[float]:
        writing = [asyncio.create_task(write(name, seed)) for seed, name in enumerate(names)]
        scored = [await asyncio.gather(score(home.served_name), score(names[-1])) for _ in range(3)]
        await asyncio.gather(*writing)
        return [base for base, _ in scored]

    alone = asyncio.run(score(home.served_name))
    try:
        for name in names:
            load_adapter(*site_server(), name, folder / "adapter")
        assert asyncio.run(score(names[-1])) != pytest.approx(alone, rel=1e-4)
        assert asyncio.run(together()) == pytest.approx([alone] * 3, rel=1e-4)
    finally:
        for name in names:
            unload_adapter(*site_server(), name)


@pytest.mark.parametrize("harm", ["a byte", "a pickle", "gone"])
def test_weights_that_are_not_theirs(
    harm: str, keeper: ServingKeeper, version: ModelVersion, home: ModelVersion, admin: User, tmp_path: Path
) -> None:
    folder = tmp_path / "studio" / "runs" / "1" / "adapter"
    weights = folder / "adapter_model.safetensors"
    if harm == "a byte":
        raw = bytearray(weights.read_bytes())
        raw[-1] ^= 1
        weights.write_bytes(raw)
    elif harm == "a pickle":
        (folder / "adapter_model.bin").write_bytes(b"\x80\x04.")
    else:
        weights.unlink()
    asked = promote(by=admin, version_id=version.pk, overrule=True, reason="It is a test of ours.")
    for _ in range(4):
        keeper.look()
    asked.refresh_from_db()
    assert asked.state == DeploymentState.FAILED
    assert "adapter_model" in asked.problem
    assert in_service() == home
    assert Deployment.objects.filter(state=DeploymentState.LOADING).count() == 0


def test_an_adapter_that_was_lost_is_loaded_again(keeper: ServingKeeper, version: ModelVersion, admin: User) -> None:
    """As after a restart of the server, which forgets its adapters."""
    promote(by=admin, version_id=version.pk, overrule=True, reason="It is a test of ours.")
    keeper.look()
    unload_adapter(*site_server(), version.served_name)
    assert version.served_name not in (served_names(*site_server()) or ())
    keeper.look()
    assert version.served_name in (served_names(*site_server()) or ())


def test_a_server_that_is_away_changes_nothing(
    keeper: ServingKeeper, version: ModelVersion, home: ModelVersion, admin: User, settings: Settings
) -> None:
    address = settings.MODEL_SERVER_URL
    asked = promote(by=admin, version_id=version.pk, overrule=True, reason="It is a test of ours.")
    settings.MODEL_SERVER_URL = "http://127.0.0.1:9"
    keeper.look()
    asked.refresh_from_db()
    assert asked.state == DeploymentState.LOADING
    assert in_service() == home
    settings.MODEL_SERVER_URL = address
    keeper.look()
    assert in_service() == version


def test_what_the_server_refuses_is_said(home: ModelVersion) -> None:
    async def ask() -> None:
        async with Client(Served(*site_server()[:1], "nobody", site_server()[1])) as client:
            await client.context()

    with pytest.raises(ServerFailed, match="does not serve nobody"):
        asyncio.run(ask())
