"""Settings of a model that is asked questions: its server, limits and budget. Does not import torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from training.config.markers import FilledIn
from training.config.settings import Settings


class TeacherSettings(Settings):
    """A model behind an OpenAI-compatible address. `key_variable` names the environment variable that has the key."""

    url: Annotated[str, FilledIn("http://filled.in")] = Field(
        pattern=r"^https?://",
        max_length=500,
        description="Names the server, with its path and query if it has any; /v1 is added to a path without a version.",
    )
    model: Annotated[str, FilledIn()] = Field(
        min_length=1, max_length=200, description="Names the model, as the server does."
    )
    key_variable: Annotated[str, FilledIn()] = Field("TEACHER_KEY", pattern=r"^[A-Z][A-Z0-9_]*$", max_length=100)
    inside: Annotated[bool, FilledIn()] = Field(
        False, description="Marks a server of the site, which is never reached through a proxy."
    )
    at_once: int = Field(256, ge=1, le=4096, description="Limits the concurrent requests.")
    requests_per_minute: float | None = Field(None, gt=0, le=1e6)
    tokens_per_minute: float | None = Field(None, gt=0, le=1e9)
    seconds: float = Field(600.0, gt=0, le=7200, description="Limits the time for one answer.")
    tries: int = Field(6, ge=1, le=20, description="Limits the attempts for a request that fails.")
    temperature: float = Field(0.7, ge=0, le=2)
    top_p: float | None = Field(
        None, gt=0, le=1, description="Samples from the likeliest tokens with this probability together."
    )
    reasoning_effort: Literal["default", "none", "minimal", "low", "medium", "high"] = Field(
        "default",
        description="Asks a model that thinks first for more or less of it; with default nothing is asked for.",
    )
    most_answer_tokens: int | None = Field(
        None,
        ge=1,
        le=2**20,
        description="Limits one answer, with its thinking; if empty, each question has a limit of its own.",
    )
    structured: bool = Field(
        True, description="Lets the server enforce the schema of answers; if off, only the prompt asks for it."
    )
    most_tokens: int | None = Field(None, ge=1, le=10**13, description="Limits the tokens of all requests and answers.")
    most_money: float | None = Field(None, gt=0, le=1e9, description="Limits the cost, at the prices below.")
    price_in: float = Field(0.0, ge=0, le=1e6, description="Sets the price of a million tokens of requests.")
    price_out: float = Field(0.0, ge=0, le=1e6, description="Sets the price of a million tokens of answers.")
    replay: Annotated[bool, FilledIn()] = Field(
        False, description="Uses only the answers of earlier calls, and sends nothing."
    )
