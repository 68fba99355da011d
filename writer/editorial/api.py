"""The HTTP API of the editors' desk: principles, readings of pairs, acts and undo, and a writer's consents."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Body, Router, Schema, Status
from pydantic import ConfigDict, Field

from writer.accounts.http import person
from writer.accounts.models import User
from writer.editorial.acts import AnyAct
from writer.editorial.models import Act, Reading, Sharing
from writer.editorial.operations.act import act, undo
from writer.editorial.operations.follow import follow
from writer.editorial.operations.freeze import open_story
from writer.editorial.operations.next_pair import next_pair
from writer.editorial.operations.share import share
from writer.editorial.reading import marks_of, palette, reading_for, reading_json, sharing_json, take_for, take_json
from writer.refusals import Missing
from writer.stories.reading import story_for

router = Router(tags=["editorial"])


class Given(Schema):
    model_config = ConfigDict(extra="forbid")


class ConsentChange(Given):
    consent: str = Field(description="reading, training or outside")
    given: bool


class SharingOut(Schema):
    reading: bool
    training: bool
    outside: bool


class PrincipleOut(Schema):
    version: int
    key: str
    name: str
    number: int
    explanation: str
    examples: list[dict[str, str]]
    domains: list[str]
    tasks: list[str]


class BriefOut(Schema):
    title: str
    premise: str
    target_words: int | None
    given: str
    prompt: list[dict[str, str]] | None


class ReadingOut(Schema):
    """A reading of a pair. It does not contain the authors of the texts."""

    id: UUID
    state: str
    settling: bool
    brief: BriefOut
    left: str
    right: str
    place_left: float
    place_right: float
    seen_left: list[list[int]]
    seen_right: list[list[int]]
    seconds: int


class TakeOut(Schema):
    id: int
    brief: BriefOut
    text: str
    words: int


class MarkOut(Schema):
    id: UUID
    start: int
    end: int
    quote: str
    version: int
    principle: str
    severity: int
    note: str
    better: str


Range = tuple[Annotated[int, Field(ge=0, lt=2**31)], Annotated[int, Field(ge=0, lt=2**31)]]
Place = Annotated[float, Field(ge=0, lt=2**31, allow_inf_nan=False)]


class Progress(Given):
    place_left: Place
    place_right: Place
    seen_left: list[Range] = Field([], max_length=5000)
    seen_right: list[Range] = Field([], max_length=5000)
    seconds: int = Field(ge=0, lt=2**31)


class ActOut(Schema):
    op_id: str
    kind: str
    subject: str
    at: datetime
    undone: datetime | None


def _editor(request: HttpRequest) -> User:
    user = person(request)
    if not user.is_editor:
        raise Missing
    return user


@router.get("/principles", response=list[PrincipleOut])
def principles(request: HttpRequest) -> list[dict[str, Any]]:  # noqa: ARG001
    """The principles in force."""
    return palette()


@router.get("/stories/{uuid:story_id}/sharing", response=SharingOut)
def sharing_of(request: HttpRequest, story_id: UUID) -> dict[str, bool]:
    return sharing_json(story_for(person(request), story_id))


@router.put("/stories/{uuid:story_id}/sharing", response=SharingOut)
def put_sharing(request: HttpRequest, story_id: UUID, payload: ConsentChange) -> Sharing:
    return share(by=person(request), story_id=story_id, consent=payload.consent, given=payload.given)


@router.post("/readings", response={201: ReadingOut, 204: None})
def new_reading(request: HttpRequest) -> Status[Any]:
    """The next pair to judge, or the current one; 204 if none is waiting."""
    found = next_pair(by=_editor(request))
    return Status(204, None) if found is None else Status(201, reading_json(_own(request, found.pk)))


@router.get("/readings/{uuid:reading_id}", response=ReadingOut)
def one_reading(request: HttpRequest, reading_id: UUID) -> dict[str, Any]:
    return reading_json(_own(request, reading_id))


@router.patch("/readings/{uuid:reading_id}", response={204: None})
def patch_reading(request: HttpRequest, reading_id: UUID, payload: Progress) -> Status[None]:
    follow(
        by=_editor(request),
        reading_id=reading_id,
        places=(payload.place_left, payload.place_right),
        seen=([list(one) for one in payload.seen_left], [list(one) for one in payload.seen_right]),
        seconds=payload.seconds,
    )
    return Status(204, None)


def _own(request: HttpRequest, reading_id: UUID) -> Reading:
    return reading_for(person(request), reading_id)


@router.post("/offered/{uuid:story_id}", response={201: TakeOut})
def open_offered(request: HttpRequest, story_id: UUID) -> Status[dict[str, Any]]:
    """Freeze a story that its writer offers as a take to mark."""
    return Status(201, take_json(open_story(by=_editor(request), story_id=story_id)))


@router.get("/takes/{int:take_id}", response=TakeOut)
def one_take(request: HttpRequest, take_id: int) -> dict[str, Any]:
    return take_json(take_for(_editor(request), take_id))


@router.get("/takes/{int:take_id}/marks", response=list[MarkOut])
def marks(request: HttpRequest, take_id: int) -> list[dict[str, Any]]:
    """Your own marks on the take, in the order of the text."""
    user = _editor(request)
    return marks_of(user, take_for(user, take_id))


@router.put("/acts/{op_id}", response=ActOut)
def put_act(request: HttpRequest, op_id: str, payload: Annotated[AnyAct, Body()]) -> Act:
    """Vote, skip, mark, score, settle, or judge a violation. An act that is sent again with the same op_id is stored once."""
    return act(by=_editor(request), op_id=op_id, asked=payload)


@router.delete("/acts/{op_id}", response=ActOut)
def delete_act(request: HttpRequest, op_id: str) -> Act:
    """Undo it."""
    return undo(by=_editor(request), op_id=op_id)
