"""The HTTP API: its responses, and access to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from django.test import Client

from tests.cast import write
from writer.accounts.models import User
from writer.stories.models import Channel, Generation, ModelVersion, State, Story
from writer.stories.text import sha256

JSON = "application/json"
Script = Callable[[User], Client]


def ask(client: Client, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    response = client.generic(method, f"/api{path}", json.dumps(body) if body is not None else b"", JSON)
    return response.status_code, json.loads(response.content) if response.content else None


def test_a_story_from_asking_to_reading(owner: User, model: ModelVersion, script: Script) -> None:
    client = script(owner)
    status, story = ask(client, "POST", "/stories", {"title": "Tide", "premise": "The sea.", "target_words": 600})
    assert status == 201
    generation = story["generation"]
    assert (generation["state"], generation["place"], generation["target"]) == ("queued", 1, 600)
    row = Generation.objects.get(pk=generation["id"])
    write(row, "I should plan.", channel=Channel.THINKING)
    write(row, "The sea", " rose. 🌊", "\n\nThen it fell.")

    status, story = ask(client, "GET", f"/stories/{story['id']}")
    assert story["text"] == ""
    assert story["full_text"] == "The sea rose. 🌊\n\nThen it fell."
    assert story["full_sha256"] == sha256(story["full_text"])
    assert story["origins"] == [{"generation": generation["id"]}] * 2
    status, log = ask(client, "GET", f"/generations/{generation['id']}/text?after=2")
    assert log["last_seq"] == 4
    assert log["chunks"] == [
        {"first": 3, "seq": 4, "channel": "story", "start": 7, "text": " rose. 🌊\n\nThen it fell."}
    ]
    status, log = ask(client, "GET", f"/generations/{generation['id']}/text")
    assert [(run["channel"], run["first"], run["seq"], run["start"]) for run in log["chunks"]] == [
        ("thinking", 1, 1, 0),
        ("story", 2, 4, 0),
    ]
    status, lines = ask(client, "GET", "/stories")
    assert [(line["title"], line["state"], line["words"]) for line in lines] == [("Tide", "running", 6)]


def test_pause_continue_stop(owner: User, generation: Generation, script: Script) -> None:
    client = script(owner)
    path = f"/generations/{generation.pk}"
    assert ask(client, "POST", f"{path}/pause")[1]["state"] == "paused"
    assert ask(client, "POST", f"{path}/continue")[1]["state"] == "queued"
    write(generation, "A")
    answer = ask(client, "POST", f"{path}/pause")[1]
    assert (answer["state"], answer["wish"]) == ("running", "pause")
    answer = ask(client, "POST", f"{path}/continue")[1]
    assert (answer["state"], answer["wish"]) == ("running", "")
    assert ask(client, "POST", f"{path}/stop")[1]["wish"] == "stop"
    write(generation, " lamp.", state=State.STOPPED)
    assert ask(client, "POST", f"{path}/stop")[0] == 200
    assert ask(client, "POST", f"{path}/pause")[0] == 409
    assert ask(client, "POST", f"{path}/continue")[1]["state"] == "queued"
    write(generation, state=State.DONE)
    for verb in ("pause", "continue", "stop"):
        status, answer = ask(client, "POST", f"{path}/{verb}")
        assert status == 409
        assert answer["detail"]


def test_a_save_and_its_conflict(owner: User, generation: Generation, script: Script) -> None:
    client = script(owner)
    write(generation, "One.", "\n\nTwo", " goes on")
    story = ask(client, "GET", f"/stories/{generation.story_id}")[1]
    save = {"base_revision": story["revision"], "absorbed": 4, "text": "First.", "op_id": "a"}
    status, kept = ask(client, "PUT", f"/stories/{generation.story_id}/text", save)
    assert status == 200
    assert kept["words"] == 4
    assert kept["sha256"] == sha256("First.")
    assert ask(client, "PUT", f"/stories/{generation.story_id}/text", save)[1] == kept, "sent twice, stored once"
    story = ask(client, "GET", f"/stories/{generation.story_id}")[1]
    assert story["full_text"] == "First.\n\nTwo goes on"
    assert story["origins"] == [{"person": owner.pk, "from": str(generation.pk)}, {"generation": str(generation.pk)}]

    status, answer = ask(client, "PUT", f"/stories/{generation.story_id}/text", save | {"text": "Mine.", "op_id": "b"})
    assert status == 409
    assert answer["theirs"] == {"revision": kept["revision"], "absorbed": 4, "text": "First."}
    assert answer["yours"] == {"text": "Mine."}


def test_a_token_that_is_no_good_is_nobody(owner: User, story: Story, client: Client) -> None:
    for header in ("Bearer lh_wrong", "Bearer ", "Basic abc", "lh_wrong"):
        response = client.get("/api/me", headers={"Authorization": header})
        assert response.status_code == 401
        assert json.loads(response.content)["detail"]


def test_missing_and_forbidden_are_the_same_answer(
    owner: User, stranger: User, generation: Generation, script: Script
) -> None:
    client = script(stranger)
    for path in ("/stories/{}", "/generations/{}", "/generations/{}/text"):
        mine = generation.story_id if "stories" in path else generation.pk
        assert ask(client, "GET", path.format(mine)) == ask(client, "GET", path.format(uuid4()))
        assert ask(client, "GET", path.format(mine))[0] == 404
