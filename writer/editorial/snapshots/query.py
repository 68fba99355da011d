"""The query of a snapshot: a few bounded fields, and their description in words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from writer.refusals import Refused


class SnapshotQuery(BaseModel):
    """Never included are gold pairs, undone acts, judgements under an older meaning of a principle, and stories without consent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["preference", "prompts"] = "preference"
    votes: bool = True
    mended: bool = True
    violations: Literal["no", "accepted", "not_rejected"] = "no"
    choices: bool = False
    imported: bool = False
    editors: tuple[int, ...] = ()
    principles: tuple[str, ...] = ()
    since: date | None = None
    until: date | None = None
    least_votes: int = Field(2, ge=1, le=20)
    least_agreement: float = Field(0.66, ge=0.5, le=1)
    least_read: float = Field(0.5, ge=0, le=1)
    most_share: float = Field(1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _something(self) -> SnapshotQuery:
        passages = self.mended or self.violations != "no"
        if self.kind == "preference" and not (self.votes or passages or self.choices or self.imported):
            raise ValueError("Choose at least one source.")
        if self.since and self.until and self.since > self.until:
            raise ValueError("The end is before the beginning.")
        return self

    def described(self, editors: Mapping[int, str], principles: Mapping[str, str]) -> str:
        """The query in sentences; `editors` and `principles` are their names."""
        if self.kind == "prompts":
            return " ".join(["Every prompt that has a take, once.", *self._period()])
        sources = [
            words
            for asked, words in (
                (self.votes, "editors' blind votes on pairs"),
                (self.mended, "passages as written and as mended"),
                (self.violations == "accepted", "violations that editors accepted or mended"),
                (self.violations == "not_rejected", "violations that no editor rejected"),
                (self.choices, "writers' own choices between takes"),
                (self.imported, "imported preferences"),
            )
            if asked
        ]
        said = [f"{_listed(sources).capitalize()}."]
        if self.editors:
            said.append(f"Only by {_listed([editors.get(pk, f'editor {pk}') for pk in self.editors])}.")
        if self.principles:
            names = _listed([f"“{principles.get(key, key)}”" for key in self.principles])
            said.append(f"Only what names {names}.")
        said += self._period()
        if self.votes:
            said.append(
                f"A pair counts when it has {self.least_votes} or more votes and {self.least_agreement:.0%} or more of them "
                "are for the same take, or when it was settled."
            )
            if self.least_read:
                said.append(f"A vote counts when {self.least_read:.0%} or more of both takes had been on the screen.")
        if self.most_share < 1:
            said.append(f"No editor contributes more than {self.most_share:.0%}.")
        return " ".join(said)

    def _period(self) -> list[str]:
        begin = f" from {self.since:%-d %B %Y}" if self.since else ""
        end = f" until {self.until:%-d %B %Y}" if self.until else ""
        return [f"Judged{begin}{end}."] if begin or end else []


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def checked_query(typed: Mapping[str, Any]) -> SnapshotQuery:
    """A query from input. Raises `Refused` with the first error."""
    try:
        return SnapshotQuery.model_validate(typed)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        said = str(first["msg"]).removeprefix("Value error, ")
        raise Refused(f"{field.replace('_', ' ').capitalize()}: {said}." if field else said, field=field) from None
