"""The reward `form`: LongWriter-Zero's, for thinking and then the answer, each within its tags (recipes.md 2.2).

<think>plan and second thoughts</think>
<answer>the text</answer>
"""

from __future__ import annotations

import regex

from training.config.declarations import Answer, Resources, Reward

_FORM = regex.compile(r"\s*<think>(.*?)</think>\s*<answer>(.*?)</answer>\s*", regex.DOTALL)
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def longwriter_form(answer: str) -> float:
    """1 for exactly one <think> part and, after it, exactly one <answer> part, with nothing around them; otherwise 0."""
    once = all(answer.count(tag) == 1 for tag in _TAGS)
    found = _FORM.fullmatch(answer) if once else None
    return float(bool(found and found.group(2).strip()))


def score(answer: Answer, given: Resources) -> float:  # noqa: ARG001
    return longwriter_form(answer.raw)


REWARD = Reward(
    name="form", meaning="It is 1 for thinking and then the answer, each within its tags, and otherwise 0.", score=score
)
