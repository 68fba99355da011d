"""Guards: limits of metrics other than the reward, which show first that a policy has learned to please a judge instead of readers.

A limit that is exceeded for `patience` steps in a row ends the run, with a message that contains the metric and its value. The newest checkpoint is from before.
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
"""The probes (`training.rewards.probes`), as messages describe them."""


class Halted(MendableError):
    """The run was stopped by a guard."""


class Bound(NamedTuple):
    measure: str
    value: float
    bound: float
    above: bool
    """Whether the bound is an upper one; otherwise it is a lower one."""
    meaning: str


class Guards:
    def __init__(self, settings: GuardSettings, say: Callable[[str], None]) -> None:
        self._settings, self._say = settings, say
        self._times: defaultdict[str, int] = defaultdict(int)

    def check(self, step: int, metrics: Mapping[str, float], why_absent: str = "") -> None:
        """Check the metrics of a step. Raises Halted if a bound was exceeded too often in a row. A missing metric neither counts nor resets.

        `why_absent` is a clause that says why stories could not be scored.
        """
        found = {one.measure: one for one in exceeded(self._settings, metrics)}
        for measure in list(self._times):
            if measure not in found and measure in metrics:
                del self._times[measure]
        for measure, one in found.items():
            self._times[measure] += 1
            because = f", because {why_absent}" if measure == "absent" and why_absent else ""
            said = f"step {step + 1}: {one.meaning} is {one.value:.3g}, and {one.bound:g} is the {'most' if one.above else 'least'}{because}"
            if self._times[measure] >= self._settings.patience:
                raise Halted(
                    f"The run stopped itself at {said}, {self._times[measure]} times in a row (`guards` in the settings). The newest checkpoint is from before; "
                    "look at the stories in `rollouts` before you resume it."
                )
            self._say(f"A bound is exceeded at {said} ({self._times[measure]} of {self._settings.patience} times).")


def exceeded(settings: GuardSettings, metrics: Mapping[str, float]) -> Iterator[Bound]:
    """The bounds that a step's metrics exceed; a metric that is missing exceeds none."""
    ratio = metrics.get("length_ratio")
    if settings.length_ratio and ratio is not None:
        yield from _beyond(
            "length_ratio",
            max(ratio, 1 / max(ratio, 1e-9)),
            settings.length_ratio,
            True,
            "the ratio of words written to words asked for, or its inverse,",
        )
    for measure, bound, above, meaning in (
        ("absent", settings.absent, True, "the share of stories that could not be scored"),
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
            "the fall of the second judge's scores while the first one's rose",
        ),
        ("addresses_judge", settings.addresses_judge, True, "the share of stories that speak to a judge"),
        *(
            (f"probe_{name}", settings.probe, True, f"what the rewards give a text {words} above the text itself")
            for name, words in WORSE.items()
        ),
    ):
        value = metrics.get(measure)
        if bound is not None and value is not None:
            yield from _beyond(measure, value, bound, above, meaning)


def _beyond(measure: str, value: float, bound: float, above: bool, meaning: str) -> Iterator[Bound]:
    if value > bound if above else value < bound:
        yield Bound(measure, value, bound, above, meaning)
