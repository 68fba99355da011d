"""The reward `form`: LongWriter-Zero's, for thinking and then the answer, each within its tags.

<think>plan and second thoughts</think>
<answer>the text</answer>

Where thinking is off, the answer alone has the form; thinking that the chat template has opened and closed may stand before it, without a word in it.
"""

from __future__ import annotations

import regex

from training.config.declarations import Answer, Resources, Reward

_FORM = regex.compile(r"\s*<think>.*?</think>\s*<answer>(.*?)</answer>\s*", regex.DOTALL)
_DIRECT = regex.compile(r"\s*(?:<think>\s*</think>\s*)?<answer>(.*?)</answer>\s*", regex.DOTALL)
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def longwriter_form(answer: str, *, thinks: bool = True) -> float:
    """1 for exactly one <think> part and, after it, exactly one <answer> part, with nothing around them; otherwise 0.

    With `thinks` false, 1 for exactly one <answer> part with nothing around it but an empty <think> part before it.
    """
    once = all(answer.count(tag) == 1 for tag in (_TAGS if thinks or "<think>" in answer else _TAGS[2:]))
    found = (_FORM if thinks else _DIRECT).fullmatch(answer) if once else None
    return float(bool(found and found[1].strip()))


def score(answer: Answer, given: Resources) -> float:  # noqa: ARG001
    return longwriter_form(answer.raw, thinks=answer.thinks)


REWARD = Reward(
    name="form",
    meaning="It is 1 for thinking and then the answer, each within its tags, and otherwise 0; with thinking off, for the answer alone.",
    score=score,
)
