"""Fixtures: an owner and a stranger (both writers), an editor, an admin, a story, and the site on a real server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import count

import pytest
import uvicorn
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from training.common.records import Example, Principle
from writer.accounts.models import ApiToken, User
from writer.accounts.operations.accept_invitation import make_account
from writer.editorial.models import Pair, PairSource, PrincipleState, PrincipleVersion, Reading, Take
from writer.editorial.operations.freeze import brief_of, open_story, take_of
from writer.editorial.operations.save_principle import new_principle
from writer.editorial.operations.share import share
from writer.stories.models import Channel, Chunk, Generation, ModelVersion, State, Story
from writer.stories.operations.create_story import create_story
from writer.stories.operations.models import ensure_model_version
from writer.stories.operations.save_text import save_text
from writer.stories.operations.start_generation import start_generation
from writer.stories.text import count_words

PASSWORD = "a heron in the reeds"


@pytest.fixture(autouse=True)
def quick_and_alone(settings: Settings) -> Iterator[None]:
    """Passwords are hashed quickly; and rate limits live in the cache, where no test may meet those of another."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    yield
    cache.clear()


def _person(email: str, name: str, role: str) -> User:
    return make_account(email=email, name=name, password=PASSWORD, role=role)


@pytest.fixture
def owner(db: None) -> User:
    return _person("owner@longhand.test", "Olive Owner", "writer")


@pytest.fixture
def stranger(db: None) -> User:
    return _person("stranger@longhand.test", "Stan Stranger", "writer")


@pytest.fixture
def editor(db: None) -> User:
    return _person("editor@longhand.test", "Edna Editor", "editor")


@pytest.fixture
def admin(db: None) -> User:
    return _person("admin@longhand.test", "Adam Admin", "admin")


@pytest.fixture
def make_editor(db: None) -> Callable[[], User]:
    """More editors: one at each call."""
    numbers = count(1)

    def make() -> User:
        number = next(numbers)
        return _person(f"editor{number}@longhand.test", f"Editor {number}", "editor")

    return make


@pytest.fixture
def model(db: None) -> ModelVersion:
    return ensure_model_version()


@pytest.fixture
def story(owner: User, model: ModelVersion) -> Story:
    return create_story(owner=owner, title="The Lamp", premise="A keeper alone.", target_words=600)


@pytest.fixture
def generation(owner: User, story: Story) -> Generation:
    """Queued, as nobody writes in these tests but `write`."""
    return start_generation(user=owner, story_id=story.pk)


PRINCIPLE = Principle(
    key="particular-thing",
    name="The particular thing",
    domains=("fiction",),
    tasks=("write", "polish"),
    explanation="Name the thing that is there.",
    examples=(
        Example(
            follows="She kept the buttons in a tin.",
            follows_because="A tin can be seen.",
            breaks="She kept some mementos.",
            breaks_because="Mementos cannot.",
        ),
    ),
)


@pytest.fixture
def version(editor: User) -> PrincipleVersion:
    """A principle in force, in its first version."""
    return new_principle(by=editor, record=PRINCIPLE, state=PrincipleState.IN_FORCE)


TEXTS = (
    "The lamp was lit at six.\n\nNobody came up the stairs.\n\nThe keeper wrote that down.",
    "The keeper was sad.\n\nHe thought of mementos. 🌊 They moved him deeply.",
)


@pytest.fixture
def pair(model: ModelVersion) -> Pair:
    """Two takes on a brief that is no writer's story. Three editors are wanted."""
    brief = brief_of(None, title="The Lamp", premise="A keeper alone.", target=600)
    first, second = (take_of(brief, text) for text in TEXTS)
    return Pair.objects.create(brief=brief, first=first, second=second, source=PairSource.ASKED)


@pytest.fixture
def reading(pair: Pair, editor: User) -> Reading:
    """The editor's turn at it; the first take is on the left."""
    return Reading.objects.create(pair=pair, editor=editor, swapped=False)


@pytest.fixture
def take(story: Story, owner: User, editor: User) -> Take:
    """The owner's story, offered, as an editor opened it."""
    assert story.head_id
    save_text(user=owner, story_id=story.pk, base_revision=story.head_id, absorbed=0, text=TEXTS[1], op_id="first")
    share(by=owner, story_id=story.pk, consent="reading", given=True)
    return open_story(by=editor, story_id=story.pk)


@pytest.fixture
def sign_in() -> Callable[..., Client]:
    """A signed-in browser that meets CSRF as a real one does."""

    def client_of(user: User | None, *, csrf: bool = False) -> Client:
        client = Client(enforce_csrf_checks=csrf)
        if user is not None:
            client.force_login(user)
        return client

    return client_of


@pytest.fixture
def script() -> Callable[[User], Client]:
    """A client with a bearer token."""

    def with_token(user: User) -> Client:
        _, secret = ApiToken.issue(user, "script")
        return Client(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {secret}"})

    return with_token


def write(generation: Generation, *texts: str, channel: Channel = Channel.STORY, state: State = State.RUNNING) -> None:
    """Append to the log as a narrator does, and leave the row in `state`."""
    row = Generation.objects.get(pk=generation.pk)
    row.state, row.attempt = state, max(row.attempt, 1)
    row.lease_until = timezone.now() + timedelta(seconds=60) if state == State.RUNNING else None
    for text in texts:
        row.last_seq += 1
        start = row.story_chars if channel == Channel.STORY else row.thinking_chars
        Chunk.objects.create(
            generation=row, seq=row.last_seq, channel=channel, start=start, attempt=row.attempt, text=text
        )
        if channel == Channel.STORY:
            row.story_chars += len(text)
            row.words += count_words(text)
        else:
            row.thinking_chars += len(text)
    if state == State.DONE:
        row.ending, row.finished = "ended", timezone.now()
    row.save()


@dataclass(frozen=True)
class Site:
    host: str

    @property
    def origin(self) -> str:
        return f"http://{self.host}"

    @property
    def sockets(self) -> str:
        return f"ws://{self.host}/ws/generations/"


@pytest.fixture
def site(transactional_db: None, free_port: Callable[[], int]) -> Iterator[Site]:
    """The ASGI application behind uvicorn, in a thread of this process, on this worker's database."""
    from webapp.asgi import application

    server = uvicorn.Server(
        uvicorn.Config(application, port=free_port(), lifespan="off", log_level="warning", timeout_graceful_shutdown=2)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            pytest.fail("The web server did not start.")
        threading.Event().wait(0.01)
    try:
        yield Site(f"127.0.0.1:{server.config.port}")
    finally:
        server.should_exit = True
        thread.join(10)
        connection.close()
