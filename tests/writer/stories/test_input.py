"""Invalid input gets a clear message from the API and the form, and is not lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from writer.accounts.models import User
from writer.stories.models import Generation, ModelVersion, Story
from writer.stories.operations.create_story import create_story
from writer.stories.reading import story_for, whole

pytestmark = pytest.mark.django_db
SignIn = Callable[..., Client]
Script = Callable[[User], Client]

GOOD = {"title": "The Lamp", "premise": "A keeper alone.", "target_words": 600}
BAD: list[tuple[str, Any, str]] = [
    ("premise", "", "Please write a premise."),
    ("premise", " \n\t ", "Please write a premise."),
    ("premise", "p" * 5_000_000, "5,000,000 characters"),
    ("premise", "bell \x07 rings", "control character (U+0007, number 6"),
    ("premise", "nul \x00", "control character (U+0000"),
    ("title", "", "Please write a title."),
    ("title", "t" * 201, "the limit is 200"),
    ("title", "esc \x1b[31m", "U+001B"),
    ("target_words", 0, "200 to 20,000 words"),
    ("target_words", -1, "200 to 20,000 words"),
    ("target_words", 10**9, "200 to 20,000 words"),
    ("target_words", 199, "200 to 20,000 words"),
    ("target_words", 20_001, "200 to 20,000 words"),
    ("target_words", "many", "whole number"),
    ("temperature", 2.1, "from 0 to 2"),
    ("temperature", "warm", "number"),
    ("min_p", -0.1, "from 0 to 1"),
    ("min_p", 1.5, "from 0 to 1"),
]
API_ONLY: list[tuple[str, Any, str]] = [
    ("target_words", 600.5, "whole number"),
    ("target_words", None, "whole number"),
    ("target_words", [600], "whole number"),
    ("target_words", 10**40, "200 to 20,000 words"),
    ("premise", 7, "must be a text"),
    ("premise", "half \ud83d", "half of a character"),
    ("title", None, "must be a text"),
    ("text", "x" * 1_000_001, "the limit is 1,000,000"),
    ("text", "\x0b", "U+000B"),
    ("surprise", 1, "no field surprise"),
]


def shown(case: tuple[str, Any, str]) -> str:
    return f"{case[0]}={str(case[1])[:12]!r}"


@pytest.mark.parametrize("case", BAD + API_ONLY, ids=shown)
def test_the_api_names_the_field_and_says_what_is_wrong(
    case: tuple[str, Any, str], owner: User, model: ModelVersion, script: Script
) -> None:
    field, value, words = case
    response = script(owner).post("/api/stories", json.dumps(GOOD | {field: value}), "application/json")
    assert response.status_code == 422
    answer = json.loads(response.content)
    assert answer["field"] == field
    assert words in answer["detail"]
    assert not Story.objects.exists()


@pytest.mark.parametrize("case", BAD, ids=shown)
def test_the_form_says_it_beside_the_field_and_keeps_the_rest(
    case: tuple[str, Any, str], owner: User, model: ModelVersion, sign_in: SignIn
) -> None:
    field, value, words = case
    typed = GOOD | {"key": "k"} | {field: value}
    response = sign_in(owner).post("/new", typed)
    assert response.status_code == 422
    page = response.content.decode()
    assert words in page
    assert response.context["errors"].keys() == {field}
    assert response.context["typed"] == {name: str(kept) for name, kept in typed.items()}
    assert not Story.objects.exists()


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b'"x"', b"{", b"null", b"\xff\xfe"])
def test_what_is_no_json_is_told_so(body: bytes, owner: User, script: Script) -> None:
    response = script(owner).post("/api/stories", body, "application/json")
    assert response.status_code in (400, 422)
    assert json.loads(response.content)["detail"]


def test_more_than_any_story_is_refused_in_words(owner: User, script: Script, sign_in: SignIn) -> None:
    body = json.dumps(GOOD | {"premise": "p" * 17 * 2**20})
    response = script(owner).post("/api/stories", body, "application/json")
    assert response.status_code == 413
    assert json.loads(response.content)["detail"]
    response = sign_in(owner).post("/new", body, "application/x-www-form-urlencoded")
    assert response.status_code == 413


def test_markup_is_text_wherever_it_is_shown(owner: User, model: ModelVersion, sign_in: SignIn) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}"
    story = create_story(owner=owner, title=evil, premise=evil, target_words=600, text=f"{evil}\n\n</script>\u2028end")
    assert whole(story_for(owner, story.pk)).text == f"{evil}\n\n</script>\u2028end"
    client = sign_in(owner)
    for path in ("/", f"/stories/{story.pk}"):
        page = client.get(path).content.decode()
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "49" not in page.split("</head>")[1].replace(str(story.pk), "")[:400]
    response = sign_in(owner).post("/new", {"title": "", "premise": evil, "target_words": "600"})
    assert b"<script>alert" not in response.content


def test_a_form_sent_twice_makes_one_story(owner: User, model: ModelVersion, sign_in: SignIn) -> None:
    client = sign_in(owner)
    page = client.get("/new")
    typed = GOOD | {"key": page.context["typed"]["key"]}
    first, second = client.post("/new", typed), client.post("/new", typed)
    assert first.status_code == second.status_code == 302
    assert first["Location"] == second["Location"]
    assert Story.objects.count() == Generation.objects.count() == 1
    assert client.post("/new", typed | {"key": "other"})["Location"] != first["Location"]


@pytest.mark.parametrize("typed", ["1,500", " 1500 ", "1500"])
def test_a_number_as_people_write_it(typed: str, owner: User, model: ModelVersion, sign_in: SignIn) -> None:
    assert sign_in(owner).post("/new", GOOD | {"target_words": typed}).status_code == 302
    assert Story.objects.get().target_words == 1500


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 2.1),
        ("temperature", -1),
        ("temperature", float("nan")),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("min_p", float("inf")),
        ("top_p", 0),
        ("top_p", 1.1),
        ("seed", -1),
        ("seed", 2**40),
        ("thinking", 7),
    ],
)
def test_settings_of_the_model_have_bounds(field: str, value: float, owner: User, story: Story, script: Script) -> None:
    path = f"/api/stories/{story.pk}/generations"
    response = script(owner).post(path, json.dumps({field: value}), "application/json")
    assert response.status_code == 422
    assert json.loads(response.content)["field"] == field


def test_title_and_premise_are_changed_on_their_page(
    owner: User, stranger: User, story: Story, sign_in: SignIn
) -> None:
    client, path = sign_in(owner), f"/stories/{story.pk}/about"
    assert story.premise in client.get(path).content.decode()
    typed = {"title": "Another <b>lamp</b>", "premise": ""}
    response = client.post(path, typed)
    assert response.status_code == 422
    assert "Please write a premise." in response.content.decode()
    assert "Another &lt;b&gt;lamp" in response.content.decode(), "what was typed is still there"
    assert sign_in(stranger).post(path, GOOD).status_code == 404
    story.refresh_from_db()
    assert story.title != typed["title"]
    assert client.post(path, typed | {"premise": "Two keepers."})["Location"] == f"/stories/{story.pk}"
    story.refresh_from_db()
    assert (story.title, story.premise) == (typed["title"], "Two keepers.")


@pytest.mark.parametrize(
    ("template", "allowed"),
    [("{{ messages[0].content }}", False), ("{% if enable_thinking %}<think>{% endif %}", True), (None, True)],
)
def test_a_model_without_thinking_is_not_asked_to_think(
    script: Script, owner: User, story: Story, model: ModelVersion, tmp_path: Path, template: str | None, allowed: bool
) -> None:
    """A published name has no folder here whose template could be read, so it may think."""
    if template is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    ModelVersion.objects.filter(pk=model.pk).update(tokenizer=str(tmp_path))
    asked = json.dumps({"thinking": True})
    answer = script(owner).post(f"/api/stories/{story.pk}/generations", asked, content_type="application/json")
    assert (answer.status_code < 300) == allowed, answer.content
    if not allowed:
        assert answer.json()["field"] == "thinking"
        assert "cannot think before it writes. Leave thinking out." in answer.content.decode()
        asked = json.dumps({"thinking": False})
        answer = script(owner).post(f"/api/stories/{story.pk}/generations", asked, content_type="application/json")
        assert answer.status_code < 300, answer.content
