"""The sampling of a story: chosen in the form or by the API, kept with the story, and stored with each generation."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from tests.cast import write
from training.common.sampling import Sampling
from writer.accounts.models import User
from writer.editorial.operations.ask_pair import ask_pairs
from writer.stories.models import Generation, ModelVersion, State, Story
from writer.stories.operations.start_generation import start_generation
from writer.stories.operations.takes import another_take

pytestmark = pytest.mark.django_db
SERVED = Sampling().stored()
SignIn = Callable[..., Client]
Script = Callable[[User], Client]
TYPED = {"title": "The Lamp", "premise": "A keeper alone.", "target_words": "600"}


def post(client: Client, path: str, body: Any) -> Any:
    response = client.post(path, json.dumps(body), "application/json")
    assert response.status_code == 201, response.content
    return json.loads(response.content)


def test_the_form_shows_what_the_site_serves_and_keeps_what_is_chosen(
    owner: User, model: ModelVersion, sign_in: SignIn
) -> None:
    client = sign_in(owner)
    page = client.get("/new").content.decode()
    assert 'name="temperature" type="number" inputmode="decimal" min="0" max="2" step="any" value="0.8"' in page
    assert 'name="min_p" type="number" inputmode="decimal" min="0" max="1" step="any" value="0.05"' in page
    assert client.post("/new", TYPED | {"temperature": "1,1", "min_p": "0.1"}).status_code == 302
    story = Story.objects.get()
    first = story.generations.get()
    assert first.sampling == {"temperature": 1.1, "min_p": 0.1, "top_p": 1.0}
    assert "temperature 1.1, min-p 0.1." in client.get(f"/stories/{story.pk}").content.decode()
    write(first, "One.", state=State.DONE)
    assert another_take(user=owner, story_id=story.pk).sampling == first.sampling


@pytest.mark.parametrize("left", [{}, {"temperature": "", "min_p": " "}])
def test_a_form_without_it_is_served_as_usual(
    left: dict[str, str], owner: User, model: ModelVersion, sign_in: SignIn
) -> None:
    assert sign_in(owner).post("/new", TYPED | left).status_code == 302
    assert Generation.objects.get().sampling == SERVED


def test_it_is_changed_where_the_premise_is(
    owner: User, model: ModelVersion, generation: Generation, sign_in: SignIn
) -> None:
    write(generation, "One.", state=State.DONE)
    client, path = sign_in(owner), f"/stories/{generation.story_id}/about"
    assert 'value="0.05"' in client.get(path).content.decode()
    said = {"title": "T", "premise": "P"}
    response = client.post(path, said | {"temperature": "3", "min_p": "0"})
    assert response.status_code == 422
    assert response.context["errors"] == {"temperature": "The temperature must be from 0 to 2."}
    assert client.post(path, said | {"temperature": "0.5", "min_p": "0"}).status_code == 302
    assert Generation.objects.get().sampling == SERVED, "what is being written continues as it began"
    later = start_generation(user=owner, story_id=generation.story_id)
    assert later.sampling == {"temperature": 0.5, "min_p": 0.0, "top_p": 1.0}


def test_the_api_sets_it_for_a_story_or_for_one_generation(owner: User, model: ModelVersion, script: Script) -> None:
    client = script(owner)
    given = {"title": "Tide", "premise": "The sea.", "target_words": 600, "start": False, "temperature": 1.2}
    story = post(client, "/api/stories", given)
    assert story["sampling"] == {"temperature": 1.2}
    path = f"/api/stories/{story['id']}/generations"
    one = post(client, path, {"top_p": 0.9, "seed": 3})
    assert one["sampling"] == {"temperature": 1.2, "min_p": 0.05, "top_p": 0.9, "seed": 3}
    Generation.objects.update(state=State.STOPPED)
    assert post(client, path, {"min_p": 0.2})["sampling"] == {"temperature": 1.2, "min_p": 0.2, "top_p": 1.0}
    Generation.objects.update(state=State.STOPPED)
    changed = client.patch(f"/api/stories/{story['id']}", json.dumps({"min_p": 0}), "application/json")
    assert changed.json()["sampling"] == {"temperature": 1.2, "min_p": 0}
    assert post(client, path, {})["sampling"] == {"temperature": 1.2, "min_p": 0, "top_p": 1.0}


def test_pairs_are_sampled_as_the_site_serves(editor: User, model: ModelVersion) -> None:
    (asking,) = ask_pairs(by=editor, title="T", premise="P", target_words=300, versions=(model.pk, model.pk))
    for one in (asking.first, asking.second):
        assert one is not None
        assert {name: one.sampling[name] for name in SERVED} == SERVED


def test_rows_of_before_say_how_they_were_sampled(generation: Generation, story: Story) -> None:
    """The migration writes down what the narrator chose for them until then, and changes nothing that was chosen."""
    migration = import_module("writer.stories.migrations.0007_sampling")
    for before, after in (
        ({}, {"temperature": 0.8, "top_p": 0.95}),
        ({"top_p": 0.9, "seed": 7}, {"temperature": 0.8, "top_p": 0.9, "seed": 7}),
        ({"temperature": 0}, {"temperature": 0, "top_p": 0.95}),
        (SERVED, SERVED),
    ):
        Generation.objects.filter(pk=generation.pk).update(sampling=before)
        with connection.cursor() as cursor:
            cursor.execute(migration.AS_BEFORE)
        generation.refresh_from_db()
        assert generation.sampling == after
    Generation.objects.filter(pk=generation.pk).update(sampling={"temperature": 0.8, "top_p": 0.9})
    generation.refresh_from_db()
    assert generation.sampled == "temperature 0.8, top-p 0.9"
