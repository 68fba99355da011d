"""The first run, from an empty folder to a story in the browser: `manage.py up` downloads the starter model, converts it and serves it.

What the other tests show on the test model is shown here on the model that people meet: answers with a schema, and adapters.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import httpx
import pytest
import torch
from playwright.sync_api import Browser, expect
from pydantic import BaseModel, Field
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.e2e.browser import sign_in, window
from tests.e2e.stack import ROOT, Account, Stack
from tests.e2e.studio import circle, windows
from tests.e2e.test_pages import LOOKS, check
from tests.processes import mentioning, wait_for
from tests.training.conftest import made_up_story
from tests.training.models import write_lines
from tests.workers.serving.adapted import adapted
from training.common.question import Question
from training.config.teacher import TeacherSettings
from training.teacher.client import Teacher
from workers import starter

pytestmark = [pytest.mark.model, pytest.mark.processes, pytest.mark.xdist_group("first run")]

SECONDS = 300 if "PYTEST_XDIST_WORKER" not in os.environ else 900
"""From nothing to a story, with the download, on two cores; more where other tests run on them, too."""


class FirstRun(Stack):
    """The site that `make run` starts, as the page objects need it."""

    def __init__(self, var: Path, began: float, facts: dict[str, object]) -> None:
        self.var, self.began = var, began
        self.url = str(facts["address"])
        accounts = [Account(session="", **given) for given in facts["accounts"]]  # type: ignore[attr-defined]
        self.accounts = {account.role: account for account in accounts}
        environment: dict[str, str] = facts["environment"]  # type: ignore[assignment]
        self.server, self.key = environment["MODEL_SERVER_URL"], environment["MODEL_SERVER_KEY"]
        site = {"DJANGO_SETTINGS_MODULE": "webapp.settings", "DEBUG": "true", "VAR": str(var)}
        self.env = dict(os.environ) | environment | site
        self._shell = self._start_shell()

    def stop(self) -> None:
        self._shell.communicate()


@pytest.fixture(scope="module")
def site() -> Iterator[FirstRun]:
    with tempfile.TemporaryDirectory(prefix="lh-") as name:
        Path(name).chmod(0o755)
        var, log, began = Path(name) / "var", Path(name) / "up.log", time.monotonic()
        apart = ("DATABASE_URL", "REDIS_URL", "MODEL", "MODEL_SERVER_URL", "SECRET_KEY")
        env = {key: value for key, value in os.environ.items() if key not in apart}
        with log.open("wb") as out:
            up = subprocess.Popen(
                [sys.executable, "manage.py", "up"], cwd=ROOT, env=env | {"DEBUG": "true", "VAR": str(var), "PORT": "0"}, stdout=out, stderr=out
            )  # fmt: skip

        def facts() -> dict[str, object]:
            try:
                found = json.loads((var / "run.json").read_text())
                with urllib.request.urlopen(f"{found['address']}/healthz", timeout=5):
                    return dict(found)
            except (OSError, ValueError):
                return {}

        try:
            wait_for(lambda: bool(facts()) or up.poll() is not None, "the page answers", SECONDS)
            assert up.poll() is None, log.read_text()
            assert "The starter model is not available" not in log.read_text(), log.read_text()
            started = FirstRun(var, began, facts())
            yield started
            started.stop()
        finally:
            up.send_signal(signal.SIGINT)
            up.wait(60)
        wait_for(lambda: mentioning(str(var)) == {}, "nothing is left", 30)


def test_from_nothing_to_a_story(
    chrome: Browser, site: FirstRun, record_property: Callable[[str, object], None]
) -> None:
    context = chrome.new_context(**LOOKS["light"])
    desk = window(context, site)
    page = desk.page
    sign_in(page, site, site.accounts["writer"])
    expect(page.locator("footer")).to_contain_text(f"The model that writes here is the {starter.NAME}.")
    page.get_by_role("link", name="New story").click()
    page.get_by_label("Title").fill("The second light")
    page.get_by_label("Premise").fill("Two sisters keep a lighthouse that nobody asked for. One winter a ship answers.")
    page.get_by_label("Words").fill("200")
    page.get_by_role("button", name="Begin writing").click()
    desk.wait_words(20, SECONDS)
    record_property("first_words_s", time.monotonic() - site.began)
    story = site.wait_state(desk.story_id, "done", SECONDS)
    took = time.monotonic() - site.began
    record_property("first_run_s", took)
    assert 180 <= story["words"] <= 220
    assert story["generation"]["model"] == starter.NAME
    desk.wait_state("done")
    expect(page.locator(".provenance")).to_contain_text("it follows instructions and runs on any machine")
    for name, path in (("first-run", "/"), ("first-run-story", f"/stories/{desk.story_id}")):
        for look in LOOKS:
            page.set_viewport_size(LOOKS[look]["viewport"])
            page.emulate_media(color_scheme=LOOKS[look]["color_scheme"])
            page.goto(site.url + path)
            check(page, name, look)
    desk.no_complaints()
    context.close()
    assert took <= SECONDS


@pytest.fixture(scope="module")
def ready(site: FirstRun) -> FirstRun:
    """The site with its model loaded, also where the first test is left out."""

    def loaded() -> bool:
        try:
            return httpx.get(f"{site.server}/health", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    wait_for(loaded, "the model is loaded", SECONDS)
    return site


@pytest.mark.soak
def test_the_circle(chrome: Browser, ready: FirstRun, record_property: Callable[[str, object], None]) -> None:
    """Votes and marks, one click, an adapter trained, report, arena, promotion, a story by it, rollback."""
    began = time.monotonic()
    with windows(chrome, ready) as window:
        circle(window, ready, starter.NAME, pictures="starter-", patience=5)
    record_property("circle_s", time.monotonic() - began)


class Verdict(BaseModel):
    because: str = Field(max_length=80)
    score: Literal[1, 2, 3, 4, 5]


def test_as_a_teacher_or_judge_it_answers_with_a_schema(
    ready: FirstRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER_KEY", ready.key)
    settings = TeacherSettings(url=ready.server, model=starter.NAME, seconds=240)

    async def ask() -> Verdict:
        async with Teacher(settings, tmp_path / "calls.jsonl") as teacher:
            messages = [{"role": "user", "content": "Score this story from 1 to 5: The lamp was lit, and nobody came."}]
            return await teacher.ask(Question(messages, Verdict, 100))  # type: ignore[arg-type]

    with ThreadPoolExecutor() as apart:  # the browser has an event loop in this thread
        assert apart.submit(asyncio.run, ask()).result().score in range(1, 6)


@pytest.mark.soak
@pytest.mark.parametrize("stage", ["backtranslate", "tools"])
def test_its_answers_make_data(stage: str, ready: FirstRun, tmp_path: Path) -> None:
    """Most questions of a stage get an answer in its schema, if it does not go round until its end; how many are good enough is printed."""
    data = write_lines(
        tmp_path / "stories.jsonl", [{"id": f"book/{number}", "text": made_up_story(number)} for number in range(3)]
    )
    own: dict[str, object] = {"tasks": ["write", "title"]}
    if stage == "tools":
        own = {"samples": 12, "constitution": str(ROOT / "writer" / "editorial" / "constitution.toml")}
    common = {"run_dir": str(tmp_path / "run"), "data": [str(data)], "held_out_share": 0, "max_answer_tokens": 500}
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(common | own | {"teacher": {"url": ready.server, "model": starter.NAME}}))
    done = subprocess.run(
        [sys.executable, "-m", "training", stage, str(settings)],
        cwd=ROOT, env=os.environ | {"TEACHER_KEY": ready.key}, capture_output=True, text=True, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kept, rejected = (
        [
            json.loads(line)
            for path in (tmp_path / "run").rglob(f"{name}.jsonl")
            for line in path.read_text().splitlines()
        ]
        for name in ("train", "rejected")
    )
    reasons = Counter(one["reason"] for one in rejected)
    print(f"{len(kept)} rows kept, rejected: {dict(reasons)}")
    assert len(kept) + len(rejected) >= 6
    assert reasons["no_answer"] <= (len(kept) + len(rejected)) / 2


def test_an_adapter_in_service_is_the_merged_model(ready: FirstRun, tmp_path: Path) -> None:
    base = starter.folder(ready.var)
    folder = adapted(tmp_path, base=base)
    headers = {"Authorization": f"Bearer {ready.key}"}
    given = {"lora_name": "turned", "lora_path": str(folder / "adapter")}
    httpx.post(f"{ready.server}/v1/load_lora_adapter", json=given, headers=headers, timeout=120).raise_for_status()
    tokens = AutoTokenizer.from_pretrained(base).encode("In 1926 the lamp was lit, and nobody came up the stairs.")

    def served(name: str) -> torch.Tensor:
        asked = {"model": name, "prompt": tokens, "max_tokens": 1, "prompt_logprobs": 0}
        answer = httpx.post(f"{ready.server}/v1/completions", json=asked, headers=headers, timeout=240).json()
        found = answer["choices"][0]["prompt_logprobs"][1:]
        return torch.tensor([given[str(token)]["logprob"] for given, token in zip(found, tokens[1:], strict=True)])

    def learned(place: Path) -> torch.Tensor:
        with torch.no_grad():
            logits = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32)(torch.tensor([tokens])).logits[
                0, :-1
            ]
        found: torch.Tensor = logits.log_softmax(-1).gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]
        return found

    most = 1e-3 if torch.allclose(served(starter.NAME), learned(base), atol=1e-3) else 0.1  # a server in bfloat16
    assert torch.allclose(served(starter.NAME), learned(base), atol=most)
    assert torch.allclose(served("turned"), learned(folder / "model"), atol=most)
    assert (served("turned") - served(starter.NAME)).abs().mean() > 0.1
