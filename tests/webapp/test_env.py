"""Which model a site serves: the one that is named, the starter model if it is there, or the test model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from webapp.env import ROOT, Env
from workers import starter
from writer.accounts.models import User
from writer.stories.operations.models import ensure_model_version


def test_the_model_that_is_served_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODEL", raising=False)
    demo = str(ROOT / "demo" / "model")

    def chosen(model: str) -> tuple[str, str, bool, bool]:
        env = Env(var=tmp_path, model=model)
        return env.served_model, env.model_path, env.is_demo, env.is_starter

    assert chosen("") == ("demo/model", demo, True, False)
    place = starter.folder(tmp_path)
    place.mkdir(parents=True)
    assert chosen("") == (starter.NAME, str(place), False, True)
    assert chosen("demo/model") == ("demo/model", demo, True, False)
    assert chosen("Qwen/Qwen3.5-9B") == ("Qwen/Qwen3.5-9B", "Qwen/Qwen3.5-9B", False, False)


@pytest.mark.django_db
def test_every_page_says_what_a_small_model_cannot_do(
    owner: User, sign_in: Callable[[User], Client], settings: Settings
) -> None:
    client = sign_in(owner)

    def foot() -> str:
        page = " ".join(client.get("/").content.decode().split())
        return page.partition("<footer")[2].partition("</footer>")[0]

    ensure_model_version()
    assert "The model that writes here is the <b>demo model</b>." in foot()
    assert "starter model" not in foot()
    settings.STARTER_PROBLEM = "the Python package index cannot be reached"
    assert (
        "The starter model could not be downloaded (the Python package index cannot be reached), so this small test model takes its place. "
        "The next start tries again."
    ) in foot()

    settings.MODEL, settings.MODEL_PATH, settings.MODEL_IS_DEMO = starter.NAME, f"/models/{starter.NAME}", False
    settings.MODEL_IS_STARTER, settings.STARTER_PROBLEM = True, ""
    assert ensure_model_version().name == starter.NAME
    assert f"<b>{starter.NAME}</b>. It is the starter model: it follows instructions" in foot()
    assert "could not be downloaded" not in foot()

    settings.MODEL = settings.MODEL_PATH = "Qwen/Qwen3.5-9B"
    settings.MODEL_IS_STARTER = False
    ensure_model_version()
    assert foot() == ""
