"""What a recipe, a stage and a reward declare of themselves, each in one file that is importable without torch.

The command line, the plan, the forms, the data sheets and the workers read declarations and import none: a registry finds them, those of this
library (`training.recipes.registry`, `training.rewards.registry`) and those of other installed packages, by their entry points
`longhand.recipes`, `longhand.stages` and `longhand.rewards`.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, cast, get_args

import numpy as np
import numpy.typing as npt

from training.common.errors import MendableError
from training.common.question import A, Question
from training.common.records import Principle
from training.common.text import Message
from training.config.settings import Settings

Data = Literal["texts", "conversations", "preference"]
"""Kinds of data sets: plain texts, conversations, and pairs of a chosen and a rejected answer (`training.datasets.jsonl`)."""
Example = Literal["text", "pair", "group"]
"""What counts as one example of a step: a text, a chosen and a rejected text, or a request with the stories that the model writes to it."""


class Sampling(Protocol):
    @property
    def most_tokens(self) -> int: ...


class RolloutServer(Protocol):
    """Of the server that writes the stories: `url` is empty where the run starts one of its own."""

    @property
    def url(self) -> str: ...
    @property
    def tensor_parallel(self) -> int: ...
    @property
    def gpu_memory(self) -> float: ...
    @property
    def max_staleness(self) -> int: ...


class Rewards(Protocol):
    @property
    def preference(self) -> Path | None: ...


class GroupSettings(Protocol):
    """What the plan needs to know of the settings of a recipe whose examples are groups (`training.rollouts.settings`)."""

    @property
    def context(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def group(self) -> int: ...
    @property
    def human(self) -> object | None: ...
    @property
    def sampling(self) -> Sampling: ...
    @property
    def rollouts(self) -> RolloutServer: ...
    @property
    def rewards(self) -> Rewards: ...
    @property
    def replay(self) -> Path | None: ...


@dataclass(frozen=True, kw_only=True)
class Command:
    """Something that `python -m training NAME FILE` runs."""

    name: str
    about: str
    """One line: what it is for."""
    settings: type[Settings]
    run: str
    """`package.module:function`, called with the settings. It is imported only when the settings are known to be right: torch takes seconds."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that must stand before `run` is imported, where they are not set."""

    def load(self) -> Callable[[Any], object]:
        """The function that `run` names."""
        module, _, function = self.run.partition(":")
        loaded: Callable[[Any], object] = getattr(importlib.import_module(module), function)
        return loaded


@dataclass(frozen=True, kw_only=True)
class _Studio(Command):
    """What the studio needs to know besides, of recipes and stages alike."""

    label: str
    """What people call it."""
    learns_from: tuple[Data, ...]
    """Kinds of data sets that it reads."""
    from_snapshots: bool = False
    """It also reads snapshots of the editors' judgement."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """The vetted values that a form begins with, where they are not the settings class's own."""

    def asks(self, group: str) -> bool:
        """Whether its settings have a group of this name, such as `teacher` or `rewards`: what the site fills in hangs on that."""
        return group in self.settings.model_fields


@dataclass(frozen=True, kw_only=True)
class Recipe(_Studio):
    """A training: it makes a model. Its settings are a `training.config.recipe.RecipeSettings`."""

    example: Example = "text"
    rows: Data = "conversations"
    """The kind of line that its files hold: snapshots and data sets of another kind are turned into it."""
    unanswered: bool = False
    """Its conversations may end with a request that nobody has answered."""
    pieces: bool = False
    """A text longer than the context is read in pieces, all of it."""
    head: Literal["words", "reward"] = "words"
    """What the model answers: the next word, or one number for a text."""
    reference: bool = False
    """A reference model reads all examples once before the first step."""
    mix: type[Settings] | None = None
    """Settings of how its pairs are mixed, where they come from several sources: a form asks for them as the group `mix`."""

    @property
    def noun(self) -> str:
        """What its examples are called, several of them."""
        return {"text": "texts", "pair": "pairs", "group": "requests"}[self.example]

    @property
    def texts_per_example(self) -> int:
        """Texts that go through the model together."""
        return 2 if self.example == "pair" else 1


def group_settings(recipe: Recipe, settings: Settings) -> GroupSettings | None:
    """The settings, where the recipe learns from groups; else None."""
    return cast("GroupSettings", settings) if recipe.example == "group" else None


@dataclass(frozen=True, kw_only=True)
class Stage(_Studio):
    """A stage makes data. Its settings name the `run_dir` in which `dataset/` is there at the end."""

    produces: Literal["dataset", "violations"] = "dataset"
    """A data set, or minimal violations that editors look at first."""
    questions: Callable[[Mapping[str, Any], int], int] | None = None
    """The most questions to a teacher for these settings and so many texts, repetitions not counted; None: it asks nobody."""


Need = Literal["judge", "ranges", "constitution", "preference", "embeddings"]
"""What a reward may need; `Resources` says what each is."""
Vectors = npt.NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]
"""Sentences to vectors, [S, D], of length 1, or 0 for one of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a request, as a reward reads it."""

    prompt: Sequence[Message]
    target: int | None
    """Words asked for, where the request names a number."""
    raw: str
    """All that was written, with thinking and tags."""
    thinking: str
    text: str
    """The story alone."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a reward gives an answer: None where it cannot say. `notes` are figures under names of its own that are reported and move nothing."""

    value: float | None
    notes: Mapping[str, float] = field(default_factory=dict)


class Ask(Protocol):
    """Asks a model. None: there is no answer, so the reward has no value either; it is never 0."""

    async def __call__(self, question: Question[A]) -> A | None: ...


def _refuse(*_: object) -> Any:
    raise TypeError("a reward uses something that its `needs` do not name")


_NOT_NEEDED: Any = _refuse


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What a reward is given: what its `needs` name, and its own settings."""

    judge: Ask = _NOT_NEEDED
    ranges: Ask | None = None
    """The model that says how long a good answer is; a run may have none."""
    constitution: Sequence[Principle] = ()
    """The principles in force, one at least."""
    preference: Callable[[Answer], Awaitable[float]] = _NOT_NEEDED
    """What a reward model that learned from editors gives an answer, in log-odds. It reads one at a time."""
    embeddings: Embed = _NOT_NEEDED
    settings: Any = None


@dataclass(frozen=True, kw_only=True)
class Reward:
    """Something that a story is rewarded for. Raises ValueError for what cannot be declared so."""

    name: str
    meaning: str
    """One line: what a value says, and from where to where it goes."""
    score: Callable[[Answer, Resources], float | Score | Awaitable[float | Score | None] | None]
    """A coroutine function is awaited beside others; any other function runs in a thread, beside others as well."""
    needs: tuple[Need, ...] = ()
    settings: type[Settings] | None = None
    """Numbers with bounds, choices and switches, all with defaults: they stand under `[rewards.NAME]`, and on a form."""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"{self.name!r} cannot be the name of a reward: use letters, digits and underscores")
        if unknown := set(self.needs) - set(get_args(Need)):
            raise ValueError(f"the reward {self.name} needs {', '.join(sorted(unknown))}, which does not exist")
        if self.settings and any(info.is_required() for info in self.settings.model_fields.values()):
            raise ValueError(f"the reward {self.name} has a setting without a default")


Declared = TypeVar("Declared")


def load_entry_points(group: str, kind: type[Declared]) -> list[Declared]:
    """The declarations of other installed packages under the entry-point group. Raises MendableError for one that cannot be loaded."""
    found = []
    for point in entry_points(group=group):
        try:
            declared = point.load()
        except Exception as error:  # whatever somebody else's module raises
            raise MendableError(
                f"The entry point {point.name} of {group} ({point.value}) cannot be loaded: {error}."
            ) from error
        if not isinstance(declared, kind):
            raise MendableError(f"The entry point {point.name} of {group} ({point.value}) is not a {kind.__name__}.")
        found.append(declared)
    return found


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Named = TypeVar("Named", bound=_Named)


def by_name(declared: Iterable[Named]) -> dict[str, Named]:
    """The declarations by their names. Raises MendableError where two have the same."""
    found: dict[str, Named] = {}
    for one in declared:
        if one.name in found:
            raise MendableError(
                f"Two {type(one).__name__.lower()}s are called {one.name!r}: remove one of the packages."
            )
        found[one.name] = one
    return found
