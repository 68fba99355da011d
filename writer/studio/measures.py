"""What a GRPO run tells of each step, in words, and its first step beside its last."""

from __future__ import annotations

from dataclasses import dataclass

from training.common.rubric import BY_KEY
from training.rewards.registry import REWARDS
from writer.studio.models import Run
from writer.studio.models.runs import EventKind

_TOLD = {
    "reward": "Reward in all",
    "words": "Words",
    "thinking_words": "Words of thinking",
    "length_ratio": "Words got of words asked",
    "repeated": "Runs of four tokens that stood before",
    "cut": "Stories that did not end",
    "absent": "Stories without a score",
    "addresses_judge": "Stories that speak to a judge",
    "deviation": "Deviation of rewards in a group",
    "human_advantage": "Advantage of the human stories",
    "human_clamped": "Human stories whose advantage counted as 0",
    "entropy": "Entropy, nats a token",
    "divergence": "Divergence from the first model, nats a token",
    "first_judge": "First judge, at a look",
    "second_judge": "Second judge, at a look",
    "disagreement": "Fall in the second judge's eyes",
    "probe_padded": "What padding a story gains",
    "probe_stuffed": "What words of praise in a story gain",
    "probe_addressed": "What speaking to the judge gains",
    "probe_cut_short": "What cutting a story short gains",
    "probe_runaway": "What not ending gains",
}
OF_A_REWARD = {f"reward_{name}": f"Reward: {name}" for name in REWARDS}
OF_THE_RUBRIC = {f"rubric_{key}": f"{key}: {one.name}" for key, one in BY_KEY.items()}
NAMES = {"reward": _TOLD["reward"], **OF_A_REWARD, **OF_THE_RUBRIC, **_TOLD}
"""In the order of a page. What was measured on held-out requests has the same names behind `held_out_`."""


@dataclass(frozen=True)
class Change:
    name: str
    before: str
    after: str


def names_told() -> dict[str, str]:
    return NAMES | {f"held_out_{name}": f"Held out. {words}" for name, words in NAMES.items()}


def before_and_after(run: Run) -> list[Change]:
    """The first step beside the newest one; nothing before there are two."""
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
    """To three digits, as a page says it.

    >>> [figure(one) for one in (1104.4, 0.0485, -2.0, 3e-7, None)]
    ['1,104', '0.0485', '-2', '0', '–']
    """
    if value is None:
        return "–"
    return f"{round(value):,}" if abs(value) >= 100 or abs(value) < 1e-5 else f"{value:.3g}"
