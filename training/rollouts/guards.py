"""What is watched besides the reward: a policy that has learned to please a judge rather than readers shows here first.

Each bound that is passed for `patience` steps in a row ends the run, which says which and by how much; its newest checkpoint is from before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from training.common.errors import MendableError
from training.rollouts.settings import GuardSettings

WORSE = {
    "padded": "padded by saying it again",
    "stuffed": "stuffed with words of praise",
    "addressed": "that speaks to its judge",
    "cut_short": "cut short",
    "runaway": "that does not end",
}
"""The probes (`training.rewards.probes`), as they are told."""


class Halted(MendableError):
    """A run that stopped itself."""


class Bound(NamedTuple):
    measure: str
    value: float
    bound: float
    above: bool
    """The measure may not be above the bound; else not below."""
    says: str


class Guards:
    def __init__(self, settings: GuardSettings, say: Callable[[str], None]) -> None:
        self._settings, self._say = settings, say
        self._passed: defaultdict[str, int] = defaultdict(int)

    def look(self, step: int, told: Mapping[str, float]) -> None:
        """Raises Halted where a bound was passed too often in a row."""
        found = {one.measure: one for one in passed(self._settings, told)}
        for measure in list(self._passed):
            if measure not in found and measure in told:
                del self._passed[measure]
        for measure, one in found.items():
            self._passed[measure] += 1
            said = f"step {step + 1}: {one.says} is {one.value:.3g}, and {one.bound:g} is the {'most' if one.above else 'least'}"
            if self._passed[measure] >= self._settings.patience:
                raise Halted(
                    f"The run stopped itself at {said}, {self._passed[measure]} times in a row (`guards` in the settings). The newest checkpoint is from before; "
                    "look at the stories in `rollouts` before it goes on."
                )
            self._say(f"Beyond a bound at {said} ({self._passed[measure]} of {self._settings.patience} times).")


def passed(settings: GuardSettings, told: Mapping[str, float]) -> Iterator[Bound]:
    """The bounds that a step's figures are beyond; a figure that is not there passes none."""
    ratio = told.get("length_ratio")
    if settings.length_ratio and ratio is not None:
        yield from _beyond(
            "length_ratio",
            max(ratio, 1 / max(ratio, 1e-9)),
            settings.length_ratio,
            True,
            "words got of words asked, or the inverse,",
        )
    for measure, bound, above, says in (
        ("repeated", settings.repetition, True, "the share of runs of four tokens that stood before"),
        ("entropy", settings.entropy, False, "the entropy, in nats a token,"),
        (
            "divergence",
            settings.divergence,
            True,
            "the divergence from the model that the run began with, in nats a token,",
        ),
        ("cut", settings.cut, True, "the share of stories that did not end"),
        (
            "disagreement",
            settings.disagreement,
            True,
            "the fall in the second judge's eyes while the first one's score rose",
        ),
        ("addresses_judge", settings.addresses_judge, True, "the share of stories that speak to a judge"),
        *(
            (f"probe_{name}", settings.probe, True, f"what the rewards give a text {says} above the text itself")
            for name, says in WORSE.items()
        ),
    ):
        value = told.get(measure)
        if bound is not None and value is not None:
            yield from _beyond(measure, value, bound, above, says)


def _beyond(measure: str, value: float, bound: float, above: bool, says: str) -> Iterator[Bound]:
    if value > bound if above else value < bound:
        yield Bound(measure, value, bound, above, says)
