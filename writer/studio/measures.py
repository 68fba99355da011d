"""Labels of the metrics of runs with rewards, and the comparison of the first step with the last."""

from __future__ import annotations

from dataclasses import dataclass

from training.common.rubric import BY_KEY
from training.rewards.registry import REWARDS
from writer.studio.models import Run
from writer.studio.models.runs import EventKind

_OTHERS = {
    "reward": "Reward in all",
    "words": "Words",
    "thinking_words": "Words in the thinking part",
    "length_ratio": "Words written to words asked for",
    "repeated": "Share of repeated runs of four tokens",
    "cut": "Share of stories that did not end",
    "absent": "Share of stories without a score",
    "addresses_judge": "Share of stories that address a judge",
    "deviation": "Standard deviation of rewards in a group",
    "human_advantage": "Advantage of the human stories",
    "human_clamped": "Share of human stories whose advantage counted as 0",
    "entropy": "Entropy, nats a token",
    "divergence": "Divergence from the first model, nats a token",
    "first_judge": "Mean of the first judge",
    "second_judge": "Mean of the second judge",
    "disagreement": "Decrease of the second judge's mean",
    "probe_padded": "Gain by padding a story",
    "probe_stuffed": "Gain by words of praise in a story",
    "probe_addressed": "Gain by addressing the judge",
    "probe_cut_short": "Gain by cutting a story short",
    "probe_runaway": "Gain by not ending",
}
REWARD_NAMES = {f"reward_{name}": f"Reward: {name}" for name in REWARDS}
RUBRIC_NAMES = {f"rubric_{key}": f"{key}: {one.name}" for key, one in BY_KEY.items()}
NAMES = {"reward": _OTHERS["reward"], **REWARD_NAMES, **RUBRIC_NAMES, **_OTHERS}
"""Labels in the order of the page. Metrics on held-out requests have the prefix `held_out_`."""


@dataclass(frozen=True)
class Change:
    name: str
    before: str
    after: str


def metric_names() -> dict[str, str]:
    return NAMES | {f"held_out_{name}": f"Held out. {words}" for name, words in NAMES.items()}


def before_and_after(run: Run) -> list[Change]:
    """The metrics of the first step and of the newest one; empty if there are fewer than two."""
    steps = run.events.filter(kind=EventKind.METRICS, body__values__has_key="entropy")
    first, last = (steps.order_by(order).first() for order in ("seq", "-seq"))
    if first is None or last is None or first.step == last.step:
        return []
    was, now = first.body["values"], last.body["values"]
    return [
        Change(words, figure(was.get(name)), figure(now.get(name)))
        for name, words in NAMES.items()
        if name in was or name in now
    ]


def figure(value: float | None) -> str:
    """A number with three digits, as pages show it.

    >>> [figure(one) for one in (1104.4, 0.0485, -2.0, 3e-7, None)]
    ['1,104', '0.0485', '-2', '0', '–']
    """
    if value is None:
        return "–"
    return f"{round(value):,}" if abs(value) >= 100 or abs(value) < 1e-5 else f"{value:.3g}"
