"""The typed records that pass between the stages of training. Does not import torch, so that every process can read them.

corpus file -> Story -> Window (a part of it, and its request) -> Sample (tokens, weights) -> training loop
training loop -> Event (a line of events.jsonl)
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from training.common.tasks import TaskKey


class Story(BaseModel):
    """A story in the corpus file. Other fields of the file are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    author: str
    anthology: str
    title: str
    text: str
    pd_scope: str = ""
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a story that the model learns to write: characters from `start` until the sample is full or the story ends.

    The request states the words that are written before the character `counted_at`, as the narrator does for the text that it sends.
    With `landing` the request asks for the end, and only the text after `counted_at` is learned.

    A window in the middle of a story, whose request states the words before character 5,200:

    >>> Window(story=3, start=4_000, counted_at=5_200, landing=False, seed=17).start
    4000
    """

    story: int
    start: int
    counted_at: int
    landing: bool
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A sequence of tokens with a weight for each: 0 for given tokens (the request), 1 for tokens to learn.

    >>> Sample.from_lists([1, 50, 51, 2], [0.0, 0.0, 1.0, 1.0]).learned
    2
    """

    tokens: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]

    @classmethod
    def from_lists(cls, tokens: Sequence[int], weights: Sequence[float]) -> Sample:
        return cls(np.asarray(tokens, dtype=np.int32), np.asarray(weights, dtype=np.float32))

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def learned(self) -> int:
        """The number of tokens that are learned. The first token never is, because it cannot be predicted from anything."""
        return int((self.weights[1:] > 0).sum())


class Metrics(BaseModel):
    """The metrics of a step. Losses are in nats per learned token."""

    model_config = ConfigDict(ser_json_inf_nan="strings")  # JSON numbers cannot be infinite or NaN

    kind: Literal["metrics"] = "metrics"
    time: float
    step: int
    of: int | None = None
    """The number of steps of the run, if known."""
    values: dict[str, float]

    @property
    def text(self) -> str:
        return f"step {self.step}: " + ", ".join(f"{name} {value:.4g}" for name, value in self.values.items())


class Phase(BaseModel):
    """A part of the run that has ended, and its duration."""

    kind: Literal["phase"] = "phase"
    time: float
    name: str
    seconds: float

    @property
    def text(self) -> str:
        return f"{self.name}: {self.seconds:g} s"


class LogLine(BaseModel):
    """A line for people who follow the run."""

    kind: Literal["log"] = "log"
    time: float
    text: str
    plain: bool = False
    """Whether it is a line for people and nothing else. Runs of before the end of 2026 wrote all events but metrics and phases as such lines."""


class Resumed(BaseModel):
    """The run has resumed from a checkpoint, which was saved after `step` steps."""

    kind: Literal["resumed"] = "resumed"
    time: float
    checkpoint: str
    step: int

    @property
    def text(self) -> str:
        return f"Resuming from {self.checkpoint}."


class ModelSaved(BaseModel):
    """The model of a run that has finished its last step is complete, in the folder `path`."""

    kind: Literal["model_saved"] = "model_saved"
    time: float
    path: str

    @property
    def text(self) -> str:
        return f"The model is in {self.path}."


Outcome = Literal["done", "stopped", "failed", "interrupted"]


class Ended(BaseModel):
    """How the run ended this time. A run that was killed, or that failed because of a bug, has no such event."""

    kind: Literal["ended"] = "ended"
    time: float
    outcome: Outcome
    step: int | None = None
    """Steps that are done (items in a stage); None if the run had not started with them."""
    reason: str = ""
    """For a failure: what is wrong and what to do."""

    @property
    def text(self) -> str:
        match self.outcome:
            case "done":
                return "Done."
            case "failed":
                return f"Failed: {self.reason}"
            case "interrupted":
                return "Interrupted; the same command resumes from what is saved."
            case "stopped" if self.step:
                return f"Stopped after step {self.step}, as asked; the same command resumes from here."
            case "stopped":
                return "Stopped while it was getting ready, as asked; the same command starts again."


Event = Annotated[Metrics | Phase | LogLine | Resumed | ModelSaved | Ended, Field(discriminator="kind")]
"""An event; its `text` is for people."""


class Measure(BaseModel):
    """A measure of a report, and the same measure for a peer (human stories, or another model), if there is one."""

    measure: str
    value: float | None
    unit: str
    better: Literal["higher", "lower"]
    peer: str = ""
    peer_value: float | None = None
    note: str = ""


class Report(BaseModel):
    """Measures that were made together, with the commit and the machine."""

    commit: str
    date: str
    machine: str
    seconds: float
    measures: list[Measure]


def _storable(text: str) -> str:
    """Return the text with Unix line ends. Raises ValueError for control characters other than tabs, and for lone surrogates."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    for place, character in enumerate(text, 1):
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t":
            raise ValueError(f"it has a control character (U+{ord(character):04X}, number {place} of its characters)")
    return text


StoredText = Annotated[str, StringConstraints(max_length=1_000_000), AfterValidator(_storable)]
"""A text that can be stored and shown, with the length of a story at most."""
Domain = Literal["fiction", "creative_nonfiction", "technical", "marketing"]
"""Weaver's four domains (arXiv 2401.17268, section 3)."""
Passage = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000), AfterValidator(_storable)
]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120), AfterValidator(_storable)]


class Example(BaseModel):
    """A passage that follows a principle and one that breaks it, each with the reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    follows: Passage
    follows_because: Passage
    breaks: Passage
    breaks_because: Passage


MOST_EXAMPLES = 10


class Principle(BaseModel):
    """A principle of the team's writing constitution (Weaver, arXiv 2401.17268, section 3.4), as in its file and in judges' prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)
    name: Line
    domains: tuple[Domain, ...] = Field(min_length=1)
    tasks: tuple[TaskKey, ...] = Field(min_length=1)
    explanation: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000), AfterValidator(_storable)
    ]
    examples: tuple[Example, ...] = Field((), max_length=MOST_EXAMPLES)


class Interval(BaseModel):
    value: float
    low: float | None = None
    high: float | None = None


class Figure(BaseModel):
    """A measure of a version. `beside` is that of the version in service, `change` the difference."""

    name: str
    what: str
    better: Literal["higher", "lower", ""]
    own: Interval | None
    beside: Interval | None = None
    change: Interval | None = None
    tolerance: float | None = None
    note: str = ""

    @property
    def worse(self) -> bool:
        """Whether the measure has a tolerance, and the whole interval of the difference exceeds it in the bad direction."""
        if self.tolerance is None or self.change is None or self.change.low is None or self.change.high is None:
            return False
        return self.change.low > self.tolerance if self.better == "lower" else self.change.high < -self.tolerance


class PrincipleAccuracy(BaseModel):
    """The share of held-out pairs in which a model gives the good text the higher log p per token, for pairs that break a principle."""

    principle: str
    pairs: int
    before: Interval
    after: Interval


class LengthBucket(BaseModel):
    """The lengths of stories that were asked for with `low` to `high` words: words written per word asked for, and stories that were cut."""

    low: int
    high: int
    stories: int
    ratio: float | None
    interval: Interval | None = None
    beside: float | None
    beside_interval: Interval | None = None
    cut: int


class VersionReport(BaseModel):
    """What `training.evaluate.version` measured. By `worse` it keeps the gate shut."""

    stories: int
    context: int
    scaled: bool
    """The buckets are not POLARIS': the context holds too few words."""
    sampling: str = ""
    """How the stories were sampled, for people; reports of before have none."""
    buckets: list[LengthBucket]
    figures: list[Figure]

    @property
    def worse(self) -> list[Figure]:
        return [figure for figure in self.figures if figure.worse]
