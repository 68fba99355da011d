"""Liveness, readiness and metrics, without secrets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from tests.cast import write
from webapp import health
from webapp.env import ROOT, env
from writer.stories import model_server
from writer.stories.models import Generation, State

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget_the_model_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_server, "_asked", (0.0, False))


@pytest.fixture
def model_answers(settings: Settings) -> Iterator[None]:
    """Something that answers /health as vLLM does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    settings.MODEL_SERVER_URL = f"http://127.0.0.1:{server.server_port}"
    yield
    server.shutdown()
    server.server_close()
    thread.join()


def ready(client: Client) -> tuple[int, dict[str, Any]]:
    response = client.get("/readyz")
    return response.status_code, json.loads(response.content)


def test_all_is_well(client: Client, model_answers: None) -> None:
    assert client.get("/healthz").content == b"ok\n"
    status, answer = ready(client)
    assert (status, answer["status"]) == (200, "ready")
    assert all(check["ok"] for check in answer["checks"].values())


def test_the_model_server_is_asked_without_a_proxy(model_answers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert model_server.model_ready()


def test_a_model_that_is_loading_is_said_and_does_not_close_the_site(client: Client, settings: Settings) -> None:
    settings.MODEL_SERVER_URL = "http://127.0.0.1:9"
    status, answer = ready(client)
    assert (status, answer["status"]) == (200, "degraded")
    assert not answer["checks"]["model_server"]["ok"]
    assert "loading" in answer["checks"]["model_server"]["detail"]


def test_without_redis_it_is_not_ready(client: Client, settings: Settings) -> None:
    settings.REDIS_URL = "redis://:a-secret-word@127.0.0.1:9/0"
    response = client.get("/readyz")
    assert response.status_code == 503
    assert b"a-secret-word" not in response.content
    assert json.loads(response.content)["checks"]["redis"] == {"ok": False, "detail": "Redis does not answer."}


def test_a_queue_that_nobody_serves_and_a_lease_that_ran_out_are_said(
    client: Client, generation: Generation, model_answers: None
) -> None:
    assert ready(client)[1]["checks"]["narrator"]["ok"], "it has only just been asked for"
    Generation.objects.filter(pk=generation.pk).update(created=timezone.now() - timedelta(minutes=2))
    check = ready(client)[1]["checks"]["narrator"]
    assert not check["ok"]
    assert 119 < check["queue_seconds"] < 180
    write(generation, "A")
    assert ready(client)[1]["checks"]["narrator"]["ok"]
    Generation.objects.update(lease_until=timezone.now() - timedelta(minutes=1))
    check = ready(client)[1]["checks"]["narrator"]
    assert not check["ok"]
    assert check["lease_overdue_seconds"] > 59


def test_metrics_count_what_happens(client: Client, generation: Generation) -> None:
    write(generation, "One two three.", state=State.DONE)
    client.get("/account/login/")
    text = client.get("/metrics").content.decode()
    assert 'longhand_generations{state="done"} 1.0' in text
    assert "longhand_words_written 3.0" in text
    assert "longhand_queue_length 0.0" in text
    assert "longhand_readers 0.0" in text
    assert 'longhand_http_seconds_count{method="GET",route="account/login/",status="200"}' in text


@pytest.mark.parametrize(
    ("token", "headers", "address", "status"),
    [
        ("", {}, "127.0.0.1", 200),
        ("", {}, "10.0.0.7", 404),
        ("", {"X-Forwarded-For": "10.0.0.7"}, "127.0.0.1", 404),
        ("scrape", {}, "127.0.0.1", 404),
        ("scrape", {"Authorization": "Bearer wrong"}, "10.0.0.7", 404),
        ("scrape", {"Authorization": "Bearer scrape"}, "10.0.0.7", 200),
    ],
)
def test_metrics_are_for_this_machine_or_a_token(
    token: str, headers: dict[str, str], address: str, status: int, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(env, "metrics_token", token)
    assert client.get("/metrics", headers=headers, REMOTE_ADDR=address).status_code == status


def test_the_queue_is_measured_by_its_oldest(generation: Generation) -> None:
    assert health._queue()["length"] == 1
    assert health._lease_age() == 0


PRODUCTION = {
    "DEBUG": "false",
    "SECRET_KEY": "k" * 25 + "Zq8!w3#x5@c7^v9&b1*n2(m4)" * 2,
    "ALLOWED_HOSTS": "longhand.example",
    "SITE_URL": "https://longhand.example",
    "LOG_JSON": "true",
    "EMAIL_URL": "smtp://mailer:mail-password@mail.example:587",
}


def production(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    given = dict(os.environ) | PRODUCTION | more
    return subprocess.run(
        [sys.executable, "manage.py", *arguments], env=given, cwd=ROOT, capture_output=True, text=True, timeout=120
    )


@pytest.mark.processes
def test_the_production_settings_pass_djangos_deployment_check() -> None:
    done = production("check", "--deploy", "--fail-level", "WARNING")
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


@pytest.mark.processes
def test_production_wants_a_secret_key_of_its_own() -> None:
    done = production("check", SECRET_KEY="")
    assert done.returncode != 0
    assert "SECRET_KEY is not set" in done.stderr


def test_the_broker_is_given_and_gives_json_only(settings: Settings) -> None:
    assert settings.CELERY_ACCEPT_CONTENT == ["json"]
    assert settings.CELERY_TASK_SERIALIZER == "json"


@pytest.mark.processes
def test_no_migration_is_missing() -> None:
    done = production("makemigrations", "--check", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
