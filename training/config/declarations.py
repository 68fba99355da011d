"""The declarations of recipes, stages and rewards. Each is in one file that does not import torch.

The command line, the plan, the forms, the data sheets and the workers get them from the registries (`training.recipes.registry`,
`training.rewards.registry`), which have those of this library and those of other installed packages: the entry points `longhand.recipes`,
`longhand.stages` and `longhand.rewards`. A declaration checks itself, so that a mistake is found where its package can be named.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol, TypeVar, cast, get_args

import numpy as np
import numpy.typing as npt

from training.common.errors import MendableError
from training.common.question import A, Question
from training.common.records import Principle
from training.common.text import Message
from training.config.fields import fields_of
from training.config.recipe import RecipeSettings
from training.config.settings import Settings

MOST_NAME = 40
"""Characters of the name of a recipe or a stage."""
Data = Literal["texts", "conversations", "preference"]
"""Kinds of data sets: plain texts, conversations, and pairs of a chosen and a rejected answer (`training.datasets.jsonl`)."""
Example = Literal["text", "pair", "group"]
"""The kind of example of a step: a text, a chosen and a rejected text, or a request with the stories that the model writes for it."""


class Sampling(Protocol):
    @property
    def most_tokens(self) -> int: ...


class RolloutServer(Protocol):
    """The server that writes the stories. `url` is empty if the run starts its own."""

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
    """The settings of a recipe with groups that the plan needs (`training.rollouts.settings`)."""

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
    @property
    def guards(self) -> object: ...


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of `python -m training NAME FILE`."""

    name: str
    about: str
    """Its purpose, in one line."""
    settings: type[Settings]
    run: str
    """`package.module:function`, called with the settings. It is imported after the settings are validated, because torch takes seconds."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables to set before `run` is imported, if they are not set."""

    def load(self) -> Callable[[Any], object]:
        """Import the function that `run` names."""
        module, _, function = self.run.partition(":")
        loaded: Callable[[Any], object] = getattr(importlib.import_module(module), function)
        return loaded


@dataclass(frozen=True, kw_only=True)
class _Studio(Command):
    """A command that the studio offers: a recipe or a stage. Raises ValueError or TypeError for an invalid declaration."""

    label: str
    """Its name for people."""
    learns_from: tuple[Data, ...]
    """The kinds of data sets that it reads."""
    from_snapshots: bool = False
    """Whether it also reads snapshots of the editors' judgement."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Initial values of its form that differ from the settings' defaults."""

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or len(self.name) > MOST_NAME:
            raise ValueError(
                f"{self.name!r} cannot be a name: use letters, digits and underscores, {MOST_NAME} at most"
            )
        if unknown := set(self.learns_from) - set(get_args(Data)):
            raise ValueError(f"{self.name} learns from {', '.join(sorted(unknown))}, which does not exist")
        list(fields_of(self.settings))

    def has_group(self, group: str) -> bool:
        """Return whether its settings have a group of this name, such as `teacher` or `rewards`, which the site fills in."""
        return group in self.settings.model_fields


@dataclass(frozen=True, kw_only=True)
class Recipe(_Studio):
    """A kind of training, which makes a model. Its settings are a `training.config.recipe.RecipeSettings`."""

    example: Example = "text"
    rows: Data = "conversations"
    """The kind of lines in its files: snapshots and data sets of other kinds are converted to it."""
    unanswered: bool = False
    """Whether its conversations may end with a request."""
    pieces: bool = False
    """Whether a text longer than the context is read in pieces."""
    head: Literal["words", "reward"] = "words"
    """What the model predicts: the next token, or a number for a text."""
    reference: bool = False
    """Whether a reference model reads all examples once before the first step."""
    mix: type[Settings] | None = None
    """Settings of how pairs from several sources are mixed, which are the group `mix` of its form."""

    def __post_init__(self) -> None:
        super().__post_init__()
        names = self.settings.model_fields.keys()
        if not issubclass(self.settings, RecipeSettings) or not {"batch", "batch_tokens"} & names:
            raise ValueError(
                f"the settings of {self.name} are not a RecipeSettings with `batch`, the examples of a step, or `batch_tokens`, its tokens"
            )
        if self.example not in get_args(Example):
            raise ValueError(f"the example of {self.name} is none of {', '.join(get_args(Example))}")
        of_groups = {name for name, one in vars(GroupSettings).items() if isinstance(one, property)}
        if (self.example == "group" or self.has_group("rewards")) and (missing := of_groups - names):
            raise ValueError(
                f"the settings of {self.name}, which has groups or rewards, lack {', '.join(sorted(missing))}"
            )
        if self.mix is not None:
            self.mix()
            list(fields_of(self.mix, "mix."))

    @property
    def noun(self) -> str:
        """The name of its examples, in the plural."""
        return {"text": "texts", "pair": "pairs", "group": "requests"}[self.example]

    @property
    def texts_per_example(self) -> int:
        """The number of texts of an example, which are in one micro-batch."""
        return 2 if self.example == "pair" else 1


def group_settings(recipe: Recipe, settings: Settings) -> GroupSettings | None:
    """Return the settings if the recipe learns from groups, otherwise None."""
    return cast("GroupSettings", settings) if recipe.example == "group" else None


@dataclass(frozen=True, kw_only=True)
class Stage(_Studio):
    """A stage, which makes a data set: `dataset/` in the `run_dir` of its settings."""

    produces: Literal["dataset", "violations"] = "dataset"
    """A data set, or minimal violations, which editors review first."""
    questions: Callable[[Mapping[str, Any], int], int] | None = None
    """Returns the most questions to a teacher for settings and a number of texts, without repetitions; None if it asks no teacher."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.questions and not self.has_group("teacher"):
            raise ValueError(f"{self.name} has questions, but no setting `teacher`")


Need = Literal["judge", "ranges", "constitution", "preference", "embeddings"]
"""What a reward may need, as described in `Resources`."""
RESERVED = frozenset({"how", "weights", "clip", "epsilon", "min_std", "judge", "ranges", "preference", "constitution"})
"""Settings of `[rewards]` (`training.rewards.settings`): a reward of such a name has no table of its own."""
Vectors = npt.NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]
"""Returns a vector of length 1 for each sentence, [S, D]; a vector of length 0 for one that cannot be embedded."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a request, as rewards read it."""

    prompt: Sequence[Message]
    target: int | None
    """Words asked for, if the request names a number."""
    raw: str
    """The whole answer, with thinking and tags, and with what the chat template begins it with."""
    thinking: str
    text: str
    """The story."""
    thinks: bool = True
    """Whether the answer may begin with thinking; otherwise it was asked for directly, or the template has closed the thinking."""


@dataclass(frozen=True, slots=True)
class Score:
    """A reward's value for an answer, None if it has none. `notes` are named numbers that are reported and not learned from."""

    value: float | None
    notes: Mapping[str, float] = field(default_factory=dict)


class Ask(Protocol):
    """Asks a model. Returns None if there is no answer; then the reward has no value either, which is not 0."""

    async def __call__(self, question: Question[A]) -> A | None: ...


def _refuse(*_: object) -> Any:
    raise TypeError("a reward uses something that its `needs` do not name")


_NOT_NEEDED: Any = _refuse


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """The resources of a reward: those that its `needs` name, and its own settings."""

    judge: Ask = _NOT_NEEDED
    ranges: Ask | None = None
    """The model that states the length of a good answer, if the run has one."""
    constitution: Sequence[Principle] = ()
    """The principles in force, at least one."""
    preference: Callable[[Answer], Awaitable[float]] = _NOT_NEEDED
    """Returns the reward of a reward model that is trained on editors' preferences, in log-odds. It reads one answer at a time."""
    embeddings: Embed = _NOT_NEEDED
    settings: Any = None


@dataclass(frozen=True, kw_only=True)
class Reward:
    """A reward for stories. Raises ValueError or TypeError for an invalid declaration."""

    name: str
    meaning: str
    """What its value means, and its range, in one line."""
    score: Callable[[Answer, Resources], float | Score | Awaitable[float | Score | None] | None]
    """A coroutine function, or a function that runs in a thread. Several run at the same time."""
    needs: tuple[Need, ...] = ()
    needs_target: bool = False
    """Whether it has no value for a request that names no length, unless `ranges` are among its needs and the run has them."""
    settings: type[Settings] | None = None
    """Bounded numbers, choices and switches, all with defaults: the table `[rewards.NAME]`, and a part of the form."""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"{self.name!r} cannot be the name of a reward: use letters, digits and underscores")
        if unknown := set(self.needs) - set(get_args(Need)):
            raise ValueError(f"the reward {self.name} needs {', '.join(sorted(unknown))}, which does not exist")
        if self.settings is None:
            return
        if any(info.is_required() for info in self.settings.model_fields.values()):
            raise ValueError(f"the reward {self.name} has a setting without a default")
        if self.name in RESERVED:
            raise ValueError(f"the reward {self.name} cannot have settings: `rewards.{self.name}` is another setting")
        self.settings().model_dump(mode="json")
        list(fields_of(self.settings, f"rewards.{self.name}."))


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Named = TypeVar("Named", bound=_Named)

PROBLEMS: list[str] = []
"""Why declarations of other packages are left out. The command line refuses to work while there are any; the site works without them."""


def _named(point: EntryPoint) -> str:
    return f"The entry point {point.name} of {point.group} ({point.value})"


def _load(point: EntryPoint, kind: type[Named]) -> Named:
    try:
        declared = point.load()
    except (Exception, SystemExit) as error:  # importing another package's module may raise anything
        said = " ".join(str(error).split())
        raise MendableError(f"{_named(point)} cannot be loaded: {said.removesuffix('.')}.") from error
    if not isinstance(declared, kind):
        raise MendableError(f"{_named(point)} is not a {kind.__name__}.")
    return declared


class Registry(dict[str, Named]):
    """Declarations by name: ours, and those of other installed packages in an entry-point group.

    One that cannot be loaded, or whose name is in use, is left out and added to `PROBLEMS`, since it must not take the whole site down. The look-up
    of a name that is missing raises MendableError: a run may be of a package that is not installed on this machine, or not any longer.
    """

    def __init__(self, kind: type[Named], ours: Iterable[Named], group: str, taken: Iterable[str] = ()) -> None:
        super().__init__({one.name: one for one in ours})
        self._noun = kind.__name__.lower()
        for point in entry_points(group=group):
            try:
                declared = _load(point, kind)
                if declared.name in {*self, *taken}:
                    raise MendableError(
                        f"{_named(point)} has the name {declared.name!r}, which is in use: remove one of the packages."
                    )
                self[declared.name] = declared
            except MendableError as error:
                PROBLEMS.append(str(error))

    def __missing__(self, name: str) -> NoReturn:
        missing = f"The {self._noun} {name} is not installed on this machine: install its package for the site and for its workers."
        raise MendableError(" ".join([missing, *PROBLEMS]))
