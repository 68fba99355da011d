"""Which model is asked, how hard, and for how much."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from training.config.markers import FilledIn
from training.config.settings import Settings


class TeacherSettings(Settings):
    """A model behind an OpenAI-compatible address. The key is never a setting: `key_variable` names the variable that holds it."""

    url: Annotated[str, FilledIn("http://filled.in")] = Field(
        pattern=r"^https?://", max_length=500, description="without the /v1"
    )
    model: Annotated[str, FilledIn()] = Field(min_length=1, max_length=200, description="as the server calls it")
    key_variable: Annotated[str, FilledIn()] = Field("TEACHER_KEY", pattern=r"^[A-Z][A-Z0-9_]*$", max_length=100)
    inside: Annotated[bool, FilledIn()] = Field(
        False, description="a server of the site, whatever its address: it is never asked through a proxy"
    )
    at_once: int = Field(256, ge=1, le=4096, description="requests in flight")
    requests_per_minute: float | None = Field(None, gt=0, le=1e6)
    tokens_per_minute: float | None = Field(None, gt=0, le=1e9)
    seconds: float = Field(600.0, gt=0, le=7200, description="for one answer")
    tries: int = Field(6, ge=1, le=20, description="of a request that fails on its way")
    temperature: float = Field(0.7, ge=0, le=2)
    structured: bool = Field(
        True, description="the server holds answers to their schema; off: only the prompt asks for it"
    )
    most_tokens: int | None = Field(None, ge=1, le=10**13, description="of all requests and answers together")
    most_money: float | None = Field(None, gt=0, le=1e9, description="likewise, at the prices below")
    price_in: float = Field(0.0, ge=0, le=1e6, description="of a million tokens asked")
    price_out: float = Field(0.0, ge=0, le=1e6, description="of a million tokens answered")
    replay: Annotated[bool, FilledIn()] = Field(
        False, description="only what is kept of earlier calls is answered; nothing is sent"
    )
