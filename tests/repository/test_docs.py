"""README.md, CONTRIBUTING.md and the documentation agree with the code."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from benchmarks.readme import PAGE, QUOTED, README, page, quoted
from benchmarks.report import RESULTS, ROOT
from tests.repository.test_compose import FOR_COMPOSE, OF_OTHERS
from training.recipes.grpo import GrpoSettings
from training.recipes.registry import RECIPES, STAGES
from training.rewards.registry import REWARDS
from webapp.env import VERSION, Env
from writer.help.pages import DOCS, MARKDOWN, headings

IN_DOCS = sorted(DOCS.rglob("*.md"))
WRITTEN = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")), *IN_DOCS]
EACH = pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))


def test_its_figures_are_those_of_the_results() -> None:
    assert quoted(README.read_text()) == README.read_text(), "make figures"
    assert page(PAGE.read_text()) == PAGE.read_text(), "make figures"
    assert len(QUOTED) == 10


def test_no_result_names_a_folder_of_this_machine() -> None:
    for path in RESULTS.glob("*.json"):
        assert str(ROOT) not in path.read_text()


def test_the_readme_is_short_and_has_three_pictures() -> None:
    assert len(README.read_text().splitlines()) <= 130
    pictures = [target for kind, target in links(README) if kind == "image"]
    assert len(pictures) == 3
    assert all((ROOT / picture).stat().st_size < 150_000 for picture in pictures)


def links(path: Path) -> list[tuple[str, str]]:
    """What a page leads to: "link" or "image", and where."""
    inline = chain.from_iterable(token.children or () for token in MARKDOWN.parse(path.read_text()))
    kinds = {"link_open": ("link", "href"), "image": ("image", "src")}
    return [(kind, str(one.attrGet(name))) for one in inline if one.type in kinds for kind, name in [kinds[one.type]]]


def anchors(path: Path) -> set[str]:
    return {anchor for _, _, anchor in headings(MARKDOWN.parse(path.read_text()))}


@EACH
def test_links_lead_somewhere(path: Path) -> None:
    """On a code host. `tests/writer/help` has the same for the site, which shows what is in docs/ and nothing else."""
    for _, link in links(path):
        address, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", address):
            continue
        target = (path.parent / address).resolve() if address else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
        assert path not in IN_DOCS or target.is_relative_to(DOCS), (
            f"{link} leads out of docs/, where the site cannot follow"
        )


@pytest.mark.parametrize("path", IN_DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_begins_with_its_title_and_has_no_other(path: Path) -> None:
    tokens = MARKDOWN.parse(path.read_text())
    assert [token.tag for token, _, _ in headings(tokens)].count("h1") == 1
    assert tokens[0].tag == "h1"


@EACH
def test_what_is_named_is_there(path: Path) -> None:
    """Files and folders of this repository, settings of a deployment, and settings of a run."""
    names = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE))
    for name in names:
        if re.fullmatch(
            r"(training|writer|workers|webapp|tests|benchmarks|demo|deploy|docs|requirements|scripts)/[\w./-]*", name
        ):
            assert (ROOT / name).exists() or name == "tests/screenshots/", name  # which the tests make
        elif re.fullmatch(r"[A-Z]+(_[A-Z]+)+", name) and not name.startswith(("VLLM_", "PIP_", "LONGHAND_")):
            assert name.lower() in Env.model_fields or name in FOR_COMPOSE | OF_OTHERS, name
        elif found := re.fullmatch(r"(learner|rollouts|sampling|human|rewards|guards)\.(\w+)", name):
            part = GrpoSettings.model_fields[found[1]].annotation
            fields = part.model_fields if isinstance(part, type) and issubclass(part, BaseModel) else {}
            assert found[2] in fields, name


def test_the_guide_names_every_recipe_stage_and_reward() -> None:
    guide = (DOCS / "use" / "admin.md").read_text()
    rows = [f"| {one.label} | `{one.name}` |" for one in (*RECIPES.values(), *STAGES.values())]
    rows += [f"| `{name}` |" for name in REWARDS]
    assert [row for row in rows if f"\n{row}" not in guide] == []


def test_the_workflow_and_the_hooks_run_what_is_there() -> None:
    steps = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step][-1] == "make test"
    for hook in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]:
        assert (ROOT / hook["entry"].split()[0]).exists(), hook


@pytest.mark.processes
def test_the_version_is_that_of_the_changelog() -> None:
    said = subprocess.run([sys.executable, ROOT / "manage.py", "version"], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == VERSION
    assert f"## [{VERSION}] - " in (ROOT / "CHANGELOG.md").read_text()
