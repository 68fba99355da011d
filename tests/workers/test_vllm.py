"""The real model server of the session, as `make run` starts it."""

from __future__ import annotations

import httpx
import pytest

from tests.servers import ServedModel
from workers.serving.vllm import ModelServer


@pytest.mark.model
def test_it_writes_for_who_has_the_key_and_nobody_else(model_server: ServedModel) -> None:
    asked = {"model": model_server.name, "prompt": "It was a dark night", "max_tokens": 8}
    with httpx.Client(base_url=f"{model_server.url}/v1", timeout=60) as client:
        assert client.post("/completions", json=asked).status_code == 401
        answer = client.post("/completions", json=asked, headers={"Authorization": f"Bearer {model_server.key}"})
    assert answer.status_code == 200
    assert answer.json()["usage"]["completion_tokens"] > 0


def test_the_key_is_not_on_the_command_line() -> None:
    server = ModelServer("demo/model", "demo/model")
    assert server.key not in " ".join(server.command())
    assert server.environment()["VLLM_API_KEY"] == server.key


def test_other_secrets_stay_away_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "EMAIL_URL"):
        monkeypatch.setenv(name, "secret")
    assert "secret" not in ModelServer("demo/model", "demo/model").environment().values()


def test_not_ready_is_not_an_error() -> None:
    assert not ModelServer("demo/model", "demo/model").ready()
