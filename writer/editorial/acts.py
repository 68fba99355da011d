"""The acts of an editor, as the browser sends them. Each is stored once under its op_id, and can be undone.

Sides are those of the screen: at -2 the left is clearly better, at 2 the right. Offsets are code points of the take's text.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from ninja import Schema
from pydantic import ConfigDict, Field

Preference = Annotated[int, Field(ge=-2, le=2)]
Row = Annotated[int, Field(ge=1, lt=2**63)]


class Asked(Schema):
    model_config = ConfigDict(extra="forbid")


class VoteAct(Asked):
    """`principles` are ids of versions, as the palette has them."""

    kind: Literal["vote"]
    reading: UUID
    preference: Preference
    axes: dict[str, Preference] = {}
    reason: str = ""
    principles: list[Row] = Field([], max_length=20)


class SkipAct(Asked):
    kind: Literal["skip"]
    reading: UUID
    why: str
    note: str = ""


class Wording(Asked):
    version: Row
    severity: int = 2
    note: str = ""
    better: str = ""


class MarkAct(Wording):
    """A mark on a take, or on one side of a reading. The browser chooses its `id`, so that it need not wait until it is stored."""

    kind: Literal["mark"]
    id: UUID
    take: Row | None = None
    reading: UUID | None = None
    side: Literal["left", "right"] = "left"
    start: int = Field(ge=0, lt=2**31)
    end: int = Field(ge=0, lt=2**31)
    quote: str = Field(description="The words between `start` and `end`, so that no mark falls on other words")


class RemarkAct(Wording):
    kind: Literal["remark"]
    id: UUID


class UnmarkAct(Asked):
    kind: Literal["unmark"]
    id: UUID


class FinishAct(Asked):
    """The editor has read the text and finished marking it."""

    kind: Literal["finish"]
    take: Row


class RubricAct(Asked):
    kind: Literal["rubric"]
    take: Row
    sheet: dict[str, Any]


class SettleAct(Asked):
    kind: Literal["settle"]
    reading: UUID
    preference: Preference
    why: str
    words: str
    version: Row | None = None


class LookAct(Asked):
    """Whether a mark, or the reason of a vote, is still valid after its principle has got a new meaning."""

    kind: Literal["look"]
    mark: UUID | None = None
    vote: Row | None = None
    version: Row = Field(description="The old version that it names")
    holds: bool


class ViolationAct(Asked):
    """`mended` is the editor's wording of the worse passage, if the state is mended; `reason` and `note` tell why it is rejected."""

    kind: Literal["judge_violation"]
    violation: Row
    state: Literal["accepted", "rejected", "mended"]
    mended: str = ""
    reason: str = ""
    note: str = ""


AnyAct = Annotated[
    VoteAct | SkipAct | MarkAct | RemarkAct | UnmarkAct | FinishAct | RubricAct | SettleAct | LookAct | ViolationAct,
    Field(discriminator="kind"),
]
