"""The typed records that pass between the stages of training. They know nothing of torch, so that anybody can read them.

corpus file -> Story -> Window (which part of it, asked for how) -> Sample (tokens, weights) -> the loop
                                                                     the loop -> Event (one line of events.jsonl)
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
    """One story as the corpus file holds it; fields that nobody here reads are left out."""

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
    """A part of a story that the model learns to write: characters from `start`, until the sample is full or the story ends.

    Words are counted at the character `counted_at`, as the narrator counts them at the end of the text it sends along.
    With `landing` the request asks for the end, and only what comes after `counted_at` is learned.

    A window in the middle of a story, whose request says how many words stand before character 5,200:

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
    """A stream of tokens with a weight for each: 0 where it was given (the request), 1 where it is to be learned.

    >>> Sample.of([1, 50, 51, 2], [0.0, 0.0, 1.0, 1.0]).learned
    2
    """

    tokens: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]

    @classmethod
    def of(cls, tokens: Sequence[int], weights: Sequence[float]) -> Sample:
        return cls(np.asarray(tokens, dtype=np.int32), np.asarray(weights, dtype=np.float32))

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def learned(self) -> int:
        """Tokens that are learned. The first of a stream never is: nothing stands before it to predict it from."""
        return int((self.weights[1:] > 0).sum())


class Metrics(BaseModel):
    """What the loop measured after a step. Losses are in nats per learned token."""

    model_config = ConfigDict(ser_json_inf_nan="strings")  # JSON has no number for them

    kind: Literal["metrics"] = "metrics"
    time: float
    step: int
    of: int | None = None
    """All steps of the run, where the loop knows them."""
    values: dict[str, float]

    @property
    def text(self) -> str:
        return f"step {self.step}: " + ", ".join(f"{name} {value:.4g}" for name, value in self.values.items())


class Phase(BaseModel):
    """A part of the run that is over, and the seconds it took."""

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


class Resumed(BaseModel):
    """The run continues from a checkpoint, after so many steps."""

    kind: Literal["resumed"] = "resumed"
    time: float
    checkpoint: str
    step: int

    @property
    def text(self) -> str:
        return f"Resuming from {self.checkpoint}."


class ModelSaved(BaseModel):
    """The model of a run that did its last step is whole, in the folder `path`."""

    kind: Literal["model_saved"] = "model_saved"
    time: float
    path: str

    @property
    def text(self) -> str:
        return f"The model is in {self.path}."


Outcome = Literal["done", "stopped", "failed", "interrupted"]


class Ended(BaseModel):
    """How the run ended, this time. One that was killed, or died of a mistake in the code, has no such event."""

    kind: Literal["ended"] = "ended"
    time: float
    outcome: Outcome
    step: int | None = None
    """Steps (of a stage: items) that are done; None where the run was not that far."""
    reason: str = ""
    """Of a failure: a sentence that says what is wrong and what to do."""

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
"""`text` is what people read of an event."""


class Measure(BaseModel):
    """One figure of a report, beside the same figure of a peer (human stories, or another model), if there is one."""

    measure: str
    value: float | None
    unit: str
    better: Literal["higher", "lower"]
    peer: str = ""
    peer_value: float | None = None
    note: str = ""


class Report(BaseModel):
    """Figures that were measured together, and where."""

    commit: str
    date: str
    machine: str
    seconds: float
    measures: list[Measure]


def _plain(text: str) -> str:
    """Text that can be stored and shown: no control characters but tabs and line ends, no halves of characters."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    for place, letter in enumerate(text, 1):
        if unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t":
            raise ValueError(f"it holds a control character (U+{ord(letter):04X}, number {place} of its characters)")
    return text


Stored = Annotated[str, StringConstraints(max_length=1_000_000), AfterValidator(_plain)]
"""A text that can be kept and shown, of the length of a story at most."""
Domain = Literal["fiction", "creative_nonfiction", "technical", "marketing"]
"""Weaver's four domains (arXiv 2401.17268, section 3)."""
Passage = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000), AfterValidator(_plain)
]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120), AfterValidator(_plain)]


class Example(BaseModel):
    """A passage that follows a principle and one that breaks it, each with the reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    follows: Passage
    follows_because: Passage
    breaks: Passage
    breaks_because: Passage


MOST_EXAMPLES = 10


class Principle(BaseModel):
    """What a text of the house is asked to keep (Weaver 3.4): as the constitution's file holds it, and as judges read it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)
    name: Line
    domains: tuple[Domain, ...] = Field(min_length=1)
    tasks: tuple[TaskKey, ...] = Field(min_length=1)
    explanation: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000), AfterValidator(_plain)
    ]
    examples: tuple[Example, ...] = Field((), max_length=MOST_EXAMPLES)


class Interval(BaseModel):
    value: float
    low: float | None = None
    high: float | None = None


class Figure(BaseModel):
    """One measure. `beside` is the version in service's, `change` the difference to it."""

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
        """Guarded by a tolerance, and the whole interval of the difference lies beyond it, on the bad side."""
        if self.tolerance is None or self.change is None or self.change.low is None or self.change.high is None:
            return False
        return self.change.low > self.tolerance if self.better == "lower" else self.change.high < -self.tolerance


class PrincipleAccuracy(BaseModel):
    """How often a model gives the good text of a pair the higher probability per token, of the pairs held out that break a principle."""

    principle: str
    pairs: int
    before: Interval
    after: Interval


class BucketRow(BaseModel):
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
    buckets: list[BucketRow]
    figures: list[Figure]

    @property
    def worse(self) -> list[Figure]:
        return [figure for figure in self.figures if figure.worse]
