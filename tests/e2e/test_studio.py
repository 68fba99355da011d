"""The studio from end to end on the demo model, with a real vLLM: votes and marks, one click, training, report, arena, promotion, a story, rollback."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest
from playwright.sync_api import Browser, Page

from tests.e2e.browser import confirm
from tests.e2e.stack import Process, Stack, running
from tests.e2e.studio import Windows, circle, windows
from tests.e2e.test_pages import check
from tests.servers import ServedModel

pytestmark = [pytest.mark.model, pytest.mark.xdist_group("circle")]

STAGE = """
from django.utils import timezone
from writer.accounts.models import User
from writer.studio.models import Dataset, DatasetKind, Run, RunState
admin, now = User.objects.get(email="admin@longhand.test"), timezone.now()
corpus = Dataset.objects.create(name="Old stories", kind=DatasetKind.TEXTS, folder="old", rows=1234, words=5_012_000, sha256="0" * 64, by=admin)
made = Dataset.objects.create(name="backtranslate 2", kind=DatasetKind.CONVERSATIONS, folder="made", rows=903, words=610_400, sha256="1" * 64, by=admin,
    card="# Requests for old stories. Made by `python -m training backtranslate`.")
report = {"rows": {"train": 812, "held_out": 91}, "cost": {"asked": 3105, "tokens_in": 2_410_233, "tokens_out": 702_118, "money": 3.4},
    "tasks": [{"task": "write", "asked": 200, "kept": 188}, {"task": "expand", "asked": 200, "kept": 171}],
    "dropped": {"no_answer": 12, "says_the_text": 41, "same_again": 7}}
run = Run.objects.create(recipe="backtranslate", settings={"tasks": ["write", "expand"]}, dataset=corpus, gpus=0, by=admin, note="Requests for the old stories",
    state=RunState.DONE, queued=now, started=now, finished=now, made=made, report=report, step=3105, steps=3105, plan={"rows": 1234, "teacher": "big-model at https://teacher.example", "questions": 3600})
print(run.pk)
"""
GRPO = """
from django.utils import timezone
from writer.accounts.models import User
from writer.stories.models import ModelVersion
from writer.studio.models import Dataset, Run, RunEvent, RunState
admin, now = User.objects.get(email="admin@longhand.test"), timezone.now()
requests = Dataset.objects.get(name="backtranslate 2")
names = {"reward": (0.31, 0.58), "reward_quality": (0.42, 0.61), "reward_length": (0.12, 0.03), "reward_repetition": (0.08, 0.05), "rubric_P1": (4.1, 5.9),
    "rubric_BONUS": (0.2, 1.1), "rubric_N1": (2.2, 1.4), "words": (812, 1104), "length_ratio": (0.68, 0.93), "repeated": (0.08, 0.05), "cut": (0.12, 0.0),
    "entropy": (2.91, 2.62), "divergence": (0.0, 0.041), "first_judge": (0.41, 0.6), "second_judge": (0.39, 0.52), "disagreement": (0.0, 0.01),
    "probe_padded": (-0.05, -0.02), "human_advantage": (1.8, 0.7)}
run = Run.objects.create(recipe="grpo", base=ModelVersion.objects.earliest("pk"), settings={"steps": 40, "batch": 8, "group": 8}, dataset=requests, gpus=4, by=admin, note="Longer, without padding",
    state=RunState.STOPPED, queued=now, started=now, finished=now, step=20, steps=40, plan={"rows": 812, "held_out": 91, "judges": ["judge-large at https://judge.example", "other-judge"], "steps": 40,
    "gpu_hours": 31.5, "hours_from": "reckoned from the cards", "text": "The whole plan."})
bodies = [{"values": {name: was + (end - was) * step / 20 for name, (was, end) in names.items()}} for step in range(1, 21)]
RunEvent.objects.bulk_create([RunEvent(run=run, seq=step, kind="metrics", time=now, step=step, body=body) for step, body in enumerate(bodies, 1)])
print(run.pk)
"""


@pytest.fixture(scope="module")
def real(model_server: ServedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("studio")
    with running(folder, model_server.url, key=model_server.key, served=model_server.name) as stack:
        url = urlsplit(stack.env["DATABASE_URL"])
        where = url.netloc.rpartition("@")[2]
        role = urlunsplit(url._replace(netloc=f"longhand_e2e_worker:secret@{where}"))
        stack.run(
            "from django.db import transaction\nfrom workers.role import ensure_worker_role\n"
            f"with transaction.atomic(): ensure_worker_role({role!r})"
        )
        celery = [
            "-m",
            "celery",
            "-q",
            "-A",
            "webapp",
            "worker",
            "-c",
            "2",
            "--pool",
            "threads",
        ]
        worker = Process([*celery, "-Q", "default", "-n", "w@%h"], stack.env, folder / "worker.log")
        trainer = Process(
            [*celery, "-Q", "gpu", "-n", "t@%h"], stack.env | {"DATABASE_URL": role}, folder / "trainer.log"
        )
        try:
            yield stack
        finally:
            trainer.stop()
            worker.stop()
            stack.run(
                "from workers.folders import run_folder\nfrom workers.processes import kill\n"
                "from writer.studio.models import Run\n[kill(run_folder(run)) for run in Run.objects.all()]"
            )


@pytest.fixture(scope="module")
def window(chrome: Browser, real: Stack) -> Iterator[Windows]:
    with windows(chrome, real) as opened:
        yield opened


def test_the_circle(window: Windows, real: Stack, record_property: Callable[[str, object], None]) -> None:
    """How long it takes is measured by `make bench-studio`, alone on a machine; here it only has to come to its end."""
    began = time.monotonic()
    circle(window, real, "demo model")
    record_property("circle_s", time.monotonic() - began)
    admin = window("admin")
    other_pages(admin, real)
    second_factor(admin, real)


def other_pages(admin: Page, real: Stack) -> None:
    """After the circle, so that there is something to see; in both lights, and on a telephone."""
    stage = real.run(STAGE).strip()
    grpo = real.run(GRPO).strip()
    for name, path in (
        ("run-new", "runs/new/dpo"), ("versions", "versions/"), ("version", "versions/2"), ("references", "references"),
        ("from-editor", "from/editor/2"), ("run", "runs/1"), ("arena", "arenas/1"), ("runs", "runs/"), ("overview", ""),
        ("files", "datasets"), ("stage", f"runs/{stage}"), ("stage-new", "runs/new/violations"), ("stage-tasks", "runs/new/backtranslate"),
        ("grpo", f"runs/{grpo}"), ("grpo-new", "runs/new/grpo"),
    ):  # fmt: skip
        for look, width in (("light", 1200), ("dark", 1200), ("phone", 390)):
            admin.set_viewport_size({"width": width, "height": 900})
            admin.emulate_media(color_scheme="dark" if look == "dark" else "light")
            answer = admin.goto(f"{real.url}/studio/{path}")
            assert answer is not None
            assert answer.status == 200, path
            check(admin, f"studio-{name}", look)


def second_factor(admin: Page, real: Stack) -> None:
    """The pages of allauth, in the site's look."""
    for name, path in (("factors", ""), ("totp", "totp/activate/")):
        admin.goto(f"{real.url}/account/2fa/{path}")
        confirm(admin, real.accounts["admin"])
        check(admin, f"mfa-{name}", "light")
