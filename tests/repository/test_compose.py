"""The compose file, the image and the example of settings agree with the code: commands, names, versions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from training.serving.vllm import ADAPTED, ADAPTER_RANK, ADAPTERS, STRUCTURED
from webapp.env import Env

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
EXAMPLE = (ROOT / "deploy" / "longhand.env.example").read_text()
FOR_COMPOSE = {
    "SITE_HOST", "POSTGRES_PASSWORD", "WORKER_PASSWORD", "REDIS_PASSWORD", "SERVING_GPUS", "TRAINING_GPUS", "TRAINER_NAME",
    "TRAINER_SHM", "PYTORCH_CUDA_ALLOC_CONF",
}  # fmt: skip
"""Names that only docker-compose.yml reads."""
OF_OTHERS = {"HF_HOME", "CUDA_VISIBLE_DEVICES", "PYTORCH_CUDA_ALLOC_CONF", "WORKER_DATABASE_URL"}
"""Read by libraries, and by `workers.prepare`, not by our settings."""


def settings() -> set[str]:
    return {name.upper() for name in Env.model_fields}


def in_example() -> set[str]:
    return set(re.findall(r"^#?([A-Z][A-Z_]+)=", EXAMPLE, re.MULTILINE))


def test_the_example_explains_every_setting_and_no_other() -> None:
    assert in_example() == settings() | FOR_COMPOSE


def test_the_example_shows_the_true_defaults() -> None:
    for name, shown in re.findall(r"^#([A-Z][A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE):
        if name in FOR_COMPOSE:
            assert not shown or f"${{{name}:-{shown}}}" in (ROOT / "docker-compose.yml").read_text(), name
            continue
        default = Env.model_fields[name.lower()].default
        true = {True: "true", False: "false"}.get(default, str(default)) if isinstance(default, bool) else str(default)
        if name == "VAR":
            true = Path(true).name
        assert shown == true, name


def test_the_services_are_those_of_the_design() -> None:
    assert {"proxy", "web", "narrator", "worker", "trainer", "migrate", "postgres", "valkey", "vllm", "backup"} == set(
        SERVICES
    )


@pytest.mark.parametrize("name", OURS)
def test_every_setting_that_a_service_gets_exists(name: str) -> None:
    assert set(OURS[name]["environment"]) <= settings() | OF_OTHERS


def test_every_variable_is_explained() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", text)) <= in_example()


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists(name: str) -> None:
    command: list[str] = OURS[name]["command"]
    assert command[0] == "python"
    if command[1] == "-m":
        module = command[2]
        if module == "uvicorn":
            path, _, attribute = command[3].partition(":")
            assert attribute in (ROOT / (path.replace(".", "/") + ".py")).read_text()
        elif module == "celery":
            assert command[command.index("-A") + 1] == "webapp"
        else:
            assert (ROOT / (module.replace(".", "/") + ".py")).exists()
    else:
        assert (ROOT / command[1]).exists()
        from django.core.management import get_commands

        assert command[2] in set(get_commands()) | {"backup", "restore"}


@pytest.mark.parametrize("name", SERVICES)
def test_no_floating_versions_and_nothing_privileged(name: str) -> None:
    service = SERVICES[name]
    image = str(service["image"])
    assert ":" in image
    assert not image.endswith(":latest")
    assert not service.get("privileged")
    assert "docker.sock" not in str(service)
    if name in OURS:
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_only_the_proxy_is_reached_from_outside() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]


def test_what_runs_on_has_a_health_check_or_a_lease() -> None:
    checked = {name for name, service in SERVICES.items() if "healthcheck" in service}
    assert {"web", "worker", "trainer", "postgres", "valkey", "vllm"} <= checked
    used = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert {volume for volume in used if not volume.startswith(".")} == set(COMPOSE["volumes"])


def test_the_image_runs_as_nobody_special_and_copies_what_exists() -> None:
    text = (ROOT / "Dockerfile").read_text()
    let_in = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert re.search(r"^USER 10001$", text, re.MULTILINE)
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source.partition("/")[0] in let_in, source


def test_the_model_server_is_the_one_that_is_locked() -> None:
    locked = re.search(r"^vllm==(.+)$", (ROOT / "requirements" / "gpu.txt").read_text(), re.MULTILINE)
    assert locked is not None
    assert SERVICES["vllm"]["image"] == f"vllm/vllm-openai:v{locked[1]}"


def test_the_model_server_takes_adapters_as_ours_does() -> None:
    flags = " ".join(SERVICES["vllm"]["command"])
    assert f"--lora-target-modules {' '.join(ADAPTED)}" in flags
    assert f"--structured-outputs-config={STRUCTURED}" in flags
    for flag in (f"--max-lora-rank={ADAPTER_RANK}", f"--max-loras={ADAPTERS}", "--enable-lora"):
        assert flag in flags
    folders = {volume.partition(":")[2].removesuffix(":ro") for volume in SERVICES["vllm"]["volumes"]}
    assert {volume.partition(":")[2] for volume in SERVICES["trainer"]["volumes"]} == folders, (
        "a path means the same in both"
    )


def test_the_trainer_has_a_role_of_its_own() -> None:
    url = SERVICES["trainer"]["environment"]["DATABASE_URL"]
    assert url == SERVICES["migrate"]["environment"]["WORKER_DATABASE_URL"]
    assert "longhand_worker:" in url
