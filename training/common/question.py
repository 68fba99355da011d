"""A question to a model that is answered in JSON of a known shape. `training.teacher` asks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

from training.common.text import Message

A = TypeVar("A", bound=BaseModel)


@dataclass(frozen=True)
class Question(Generic[A]):
    messages: Sequence[Message]
    answer: type[A]
    most_tokens: int = 1024
    seed: int = 0
    temperature: float | None = None
    check: Callable[[A], str] = lambda _: ""
    """Says in a few words what is wrong with an answer of the right shape, which then counts as no answer; empty where nothing is."""
