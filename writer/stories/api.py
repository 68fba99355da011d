"""The HTTP API of stories, generations and texts. It calls the same operations as the pages."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Query, Router, Schema, Status
from pydantic import ConfigDict, Field

from training.common.sampling import Sampling
from writer.accounts.http import person
from writer.stories.models import Generation
from writer.stories.operations import control
from writer.stories.operations.create_story import change_story, create_story
from writer.stories.operations.delete_story import delete_story
from writer.stories.operations.save_text import Saved, save_text
from writer.stories.operations.start_generation import start_generation
from writer.stories.reading import Line, generation_for, generation_json, runs_after, story_for, story_json, story_lines

router = Router(tags=["stories"])
MIN_P = "0 to 1: leaves out tokens that are less likely than this share of the likeliest one; 0 leaves out none"


class Given(Schema):
    """The body of a request. Unknown fields are an error."""

    model_config = ConfigDict(extra="forbid")


class NewStory(Given):
    title: str
    premise: str
    target_words: int
    start: bool = True
    text: str = Field("", description="What there is of the story already")
    temperature: float | None = Field(None, description="0 to 2; otherwise as the site serves")
    min_p: float | None = Field(None, description=MIN_P)
    idempotency_key: str | None = Field(None, description="Sent twice, it makes one story")


class StoryChange(Given):
    title: str | None = None
    premise: str | None = None
    target_words: int | None = None
    temperature: float | None = None
    min_p: float | None = Field(None, description=MIN_P)


class NewGeneration(Given):
    target_words: int | None = Field(None, description="Words of the whole story")
    temperature: float | None = Field(None, description="0 to 2; otherwise that of the story")
    min_p: float | None = Field(None, description=MIN_P)
    top_p: float | None = Field(None, description="More than 0, at most 1, which leaves out none; slow on a processor")
    seed: int | None = None
    thinking: bool | None = None
    idempotency_key: str | None = Field(None, description="Sent twice, it starts one generation")


class TextSave(Given):
    base_revision: UUID = Field(description="The revision that the text was read from")
    absorbed: int = Field(description="Code points of the generation's log that the text holds")
    text: str
    op_id: str = Field(description="The client's name for this save; sent twice, it is stored once")


class GenerationOut(Schema):
    id: UUID
    story: UUID
    base: UUID
    state: str
    wish: str
    ending: str
    notice: str
    place: int
    words: int
    target: int
    last_seq: int
    story_chars: int
    thinking_chars: int
    model: str
    sampling: dict[str, Any]
    attempt: int
    created: datetime
    started: datetime | None
    finished: datetime | None


class StoryOut(Schema):
    id: UUID
    title: str
    premise: str
    target_words: int
    sampling: dict[str, float] = Field(description="What its writer chose of temperature and min_p")
    revision: UUID
    absorbed: int
    text: str = Field(description="Of the newest revision; the generation's log from `absorbed` on follows it")
    sha256: str
    full_text: str
    full_sha256: str
    words: int = Field(description="Of the full text")
    origins: list[dict[str, Any]] = Field(description="Who wrote each paragraph of the full text")
    created: datetime
    updated: datetime
    generation: GenerationOut | None


class StoryLine(Schema):
    id: UUID
    title: str
    target_words: int
    words: int
    state: str = Field(description="Of its newest generation; empty if nothing was asked for yet")
    created: datetime
    updated: datetime


class ChunkOut(Schema):
    first: int
    seq: int
    channel: str
    start: int
    text: str


class LogOut(Schema):
    state: str
    last_seq: int
    words: int
    chunks: list[ChunkOut]


class Kept(Schema):
    revision: UUID
    absorbed: int
    words: int
    sha256: str


class ConflictOut(Schema):
    detail: str
    theirs: dict[str, Any]
    yours: dict[str, Any]


@router.post("/stories", response={201: StoryOut})
def new_story(request: HttpRequest, payload: NewStory) -> Status[dict[str, Any]]:
    user = person(request)
    story = create_story(
        owner=user,
        title=payload.title,
        premise=payload.premise,
        target_words=payload.target_words,
        text=payload.text,
        start=payload.start,
        temperature=payload.temperature,
        min_p=payload.min_p,
        idempotency_key=payload.idempotency_key,
    )
    return Status(201, story_json(story_for(user, story.pk)))


@router.get("/stories", response=list[StoryLine])
def my_stories(
    request: HttpRequest, limit: Annotated[int, Query(ge=1, le=1000)] = 100, offset: Annotated[int, Query(ge=0)] = 0
) -> list[Line]:
    return story_lines(person(request), limit=limit, offset=offset)


@router.get("/stories/{uuid:story_id}", response=StoryOut)
def one_story(request: HttpRequest, story_id: UUID) -> dict[str, Any]:
    return story_json(story_for(person(request), story_id))


@router.patch("/stories/{uuid:story_id}", response=StoryOut)
def patch_story(request: HttpRequest, story_id: UUID, payload: StoryChange) -> dict[str, Any]:
    user = person(request)
    change_story(story=story_for(user, story_id), **payload.dict())
    return story_json(story_for(user, story_id))


@router.delete("/stories/{uuid:story_id}", response={204: None})
def remove_story(request: HttpRequest, story_id: UUID) -> Status[None]:
    delete_story(user=person(request), story_id=story_id)
    return Status(204, None)


@router.put("/stories/{uuid:story_id}/text", response={200: Kept, 409: ConflictOut})
def put_text(request: HttpRequest, story_id: UUID, payload: TextSave) -> Saved:
    return save_text(user=person(request), story_id=story_id, **payload.dict())


@router.post("/stories/{uuid:story_id}/generations", response={201: GenerationOut})
def new_generation(request: HttpRequest, story_id: UUID, payload: NewGeneration) -> Status[dict[str, Any]]:
    user = person(request)
    chosen = payload.dict(exclude={"target_words", "idempotency_key"}, exclude_none=True)
    generation = start_generation(
        user=user,
        story_id=story_id,
        target_words=payload.target_words,
        sampling=Sampling(**(story_for(user, story_id).sampling | chosen)),
        idempotency_key=payload.idempotency_key,
    )
    return Status(201, generation_json(generation))


@router.get("/generations/{uuid:generation_id}", response=GenerationOut)
def one_generation(request: HttpRequest, generation_id: UUID) -> dict[str, Any]:
    return generation_json(generation_for(person(request), generation_id))


@router.get("/generations/{uuid:generation_id}/text", response=LogOut)
def log_of(
    request: HttpRequest, generation_id: UUID, after: Annotated[int, Query(ge=0, lt=2**31)] = 0
) -> dict[str, Any]:
    """The text after the chunk `after`, with consecutive chunks of a channel merged."""
    generation = generation_for(person(request), generation_id)
    chunks = runs_after(generation.pk, after, generation.words, until=generation.last_seq)
    return {
        "state": generation.state,
        "last_seq": generation.last_seq,
        "words": generation.words,
        "chunks": chunks,
    }


@router.post("/generations/{uuid:generation_id}/pause", response=GenerationOut)
def pause(request: HttpRequest, generation_id: UUID) -> dict[str, Any]:
    return generation_json(control.pause(user=person(request), generation=_own(request, generation_id)))


@router.post("/generations/{uuid:generation_id}/continue", response=GenerationOut)
def continue_(request: HttpRequest, generation_id: UUID) -> dict[str, Any]:
    return generation_json(control.continue_(user=person(request), generation=_own(request, generation_id)))


@router.post("/generations/{uuid:generation_id}/stop", response=GenerationOut)
def stop(request: HttpRequest, generation_id: UUID) -> dict[str, Any]:
    return generation_json(control.stop(user=person(request), generation=_own(request, generation_id)))


def _own(request: HttpRequest, generation_id: UUID) -> Generation:
    return generation_for(person(request), generation_id)
