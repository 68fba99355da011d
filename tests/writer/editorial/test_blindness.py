"""Until the vote is stored, nothing that reaches the browser tells which version wrote which text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponseBase
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.cast import TEXTS
from writer.accounts.models import User
from writer.editorial.models import Pair, PrincipleVersion, Reading
from writer.editorial.operations.freeze import brief_of, take_of
from writer.stories.models import Generation, ModelVersion, Story

pytestmark = pytest.mark.django_db
Calls = Iterator[tuple[str, HttpResponseBase]]


@pytest.fixture
def versions(model: ModelVersion) -> tuple[ModelVersion, ModelVersion]:
    heron = ModelVersion.objects.create(name="Heron-7B", served_name="served/heron", tokenizer="tok/heron")
    # Its number is far from the other's, so that no digit of the page is mistaken for it.
    return heron, ModelVersion.objects.create(pk=987_001, name="Curlew-9B", served_name="served/curlew", tokenizer="tok/curlew")  # fmt: skip


def pair_by(first: ModelVersion, second: ModelVersion, owner: User) -> Pair:
    """The same two texts, by whom one likes."""
    brief = brief_of(None, title="The Lamp", premise="A keeper alone.", target=600)
    takes = []
    for text, version in zip(TEXTS, (first, second)):
        story = Story.objects.create(owner=owner, title="x", premise="x", target_words=600, blind=True)
        base = story.revisions.create(text="")
        generation = Generation.objects.create(story=story, base=base, model=version, target_words=600)
        takes.append(take_of(brief, text, generation=generation))
    return Pair.objects.create(brief=brief, first=takes[0], second=takes[1], source="asked")


def judge(client: Client, reading: Reading, version: PrincipleVersion) -> Calls:
    """Everything that a browser asks for between the opening of a pair and its vote."""
    path = f"/desk/pairs/{reading.pk}"
    yield "page", client.get(path)
    yield "reading", client.get(f"/api/readings/{reading.pk}")
    yield "next", client.post("/api/readings")
    progress = {"place_left": 1.5, "place_right": 0, "seen_left": [[0, 2]], "seen_right": [[0, 1]], "seconds": 9}
    yield "progress", client.patch(f"/api/readings/{reading.pk}", json.dumps(progress), "application/json")
    quote = TEXTS[0].split()[1]
    at = TEXTS[0].index(quote)
    mark = {
        "kind": "mark", "id": "6f0c1c8e-4f0e-4d0a-9d43-3f1d8b8a7c55", "reading": str(reading.pk), "side": "left",
        "start": at, "end": at + len(quote), "quote": quote, "version": version.pk,
    }  # fmt: skip
    yield "mark", client.put("/api/acts/m", json.dumps(mark), "application/json")
    yield "reveal", client.post(f"{path}/reveal")
    yield "result", client.get(f"{path}/result")
    yield "desk", client.get("/desk/")
    yield "principles", client.get("/api/principles")
    for number in (reading.pair.first_id, reading.pair.second_id):
        yield "take", client.get(f"/api/takes/{number}")
        yield "text", client.get(f"/desk/texts/{number}")
    vote = {"kind": "vote", "reading": str(reading.pk), "preference": 1, "reason": "It holds.", "principles": [version.pk]}  # fmt: skip
    yield "vote", client.put("/api/acts/v", json.dumps(vote), "application/json")


CHANGING = (
    r"csrf[^;\n]*?[=\"][A-Za-z0-9]{32,64}", r'value="[A-Za-z0-9]{64}"', r"nonce[-=\"][^'\"]+", r"\d{4}-\d\d-\d\dT[\d:.]+Z?(\+00:00)?",
    r"expires=[^;]+", r"Expires: [^\n]+", r"(sessionid|messages)=[^;]+", r'"subject": "\d+"',
)  # fmt: skip
"""What is another at every request, whoever wrote what: tokens, and the time."""


def everything(response: HttpResponseBase) -> str:
    headers = "\n".join(f"{name}: {value}" for name, value in sorted(response.headers.items()))
    cookies = response.cookies.output()
    return f"{response.status_code}\n{headers}\n{cookies}\n{getattr(response, 'content', b'').decode()}"


def test_no_name_and_no_number(
    versions: tuple[ModelVersion, ModelVersion], editor: User, owner: User, version: PrincipleVersion, sign_in: Callable[..., Client]
) -> None:  # fmt: skip
    pair = pair_by(*versions, owner)
    reading = Reading.objects.create(pair=pair, editor=editor, swapped=False)
    generations = list(Generation.objects.filter(model__in=versions))
    secrets = ["heron", "curlew", "987001", "987,001"]
    secrets += [
        str(one) for generation in generations for one in (generation.pk, generation.story_id, generation.base_id)
    ]
    secrets += [pair.first.sha256, pair.second.sha256]
    for what, response in judge(sign_in(editor), reading, version):
        said = everything(response).lower()
        assert [secret for secret in secrets if secret in said] == [], what
        if what in ("result", "take", "text"):
            assert response.status_code == 404, what


def test_the_answers_are_the_same_whoever_wrote_which(
    versions: tuple[ModelVersion, ModelVersion], editor: User, owner: User, version: PrincipleVersion, sign_in: Callable[..., Client]
) -> None:  # fmt: skip
    """The same texts with the authors exchanged: the same bytes, the same sizes, and the same work for the database."""

    def record(first: ModelVersion, second: ModelVersion) -> list[tuple[str, str, int]]:
        Pair.objects.all().delete()
        pair = pair_by(first, second, owner)
        reading = Reading.objects.create(pair=pair, editor=editor, swapped=False)
        client = sign_in(editor)
        client.get("/desk/")
        found = []
        calls = judge(client, reading, version)
        while True:
            with CaptureQueriesContext(connection) as caught:
                answer = next(calls, None)
            if answer is None:
                break
            said = everything(answer[1]).replace(str(reading.pk), "READING")
            for changing in CHANGING:
                said = re.sub(changing, "X", said)
            if answer[0] == "vote":  # its answer names the vote, by a number that may have grown by a digit
                said = re.sub(r"Content-Length: \d+", "X", said)
            found.append((answer[0], said, len(caught)))
        return found

    heron, curlew = versions
    one = record(heron, curlew)
    connection.cursor().execute("DELETE FROM editorial_act; DELETE FROM editorial_mark")
    other = record(curlew, heron)
    for mine, theirs in zip(one, other, strict=True):
        assert mine == theirs


def test_the_sides_have_the_same_size_either_way(
    versions: tuple[ModelVersion, ModelVersion], editor: User, owner: User, sign_in: Callable[..., Client]
) -> None:
    pair = pair_by(*versions, owner)
    reading = Reading.objects.create(pair=pair, editor=editor, swapped=False)
    client = sign_in(editor)

    def sizes() -> tuple[Any, ...]:
        return tuple(len(client.get(path).content) for path in (f"/desk/pairs/{reading.pk}", f"/api/readings/{reading.pk}"))  # fmt: skip

    sizes()
    usual = sizes()
    Reading.objects.update(swapped=True)
    assert sizes() == usual


def test_the_names_come_after_the_vote_and_only_when_asked_for(
    versions: tuple[ModelVersion, ModelVersion], editor: User, owner: User, version: PrincipleVersion, sign_in: Callable[..., Client]
) -> None:  # fmt: skip
    reading = Reading.objects.create(pair=pair_by(*versions, owner), editor=editor, swapped=True)
    client = sign_in(editor)
    for _ in judge(client, reading, version):
        pass
    assert b"Heron" not in client.get(f"/desk/pairs/{reading.pk}").content
    assert client.post(f"/desk/pairs/{reading.pk}/reveal").status_code == 302
    page = client.get(f"/desk/pairs/{reading.pk}/result").content.decode()
    assert page.index("Curlew-9B") < page.index("Heron-7B"), "the second was on the left"
    assert client.delete("/api/acts/v").status_code == 409
