"""Answers in LongWriter-Zero's form: the prompts that ask for it, and the parts of such an answer.

<think>plan and second thoughts</think>
<answer>the text</answer>
"""

from __future__ import annotations

from typing import NamedTuple

from training.common.text import Message

THINK = (
    "Before you write, think it through between <think> and </think>. Ask yourself what whoever asked for this wants and does not say; what the piece "
    "is for, and who reads it; how long it has to be, and how that length is shared out among its parts. Plan it. Look at the plan for coherence, "
    "clarity, style and tone, find what is weak in it, and mend it. Then write the whole piece, and nothing else, between <answer> and </answer>."
)
DIRECT = "Write the whole piece, and nothing else, between <answer> and </answer>."
"""The paper's two prompts, in our words."""


class AnswerParts(NamedTuple):
    thinking: str
    text: str


def thinking_prompt(messages: list[Message], *, think: bool = True) -> list[Message]:
    """Return the request with a system message that asks for LongWriter-Zero's form, with or without thinking."""
    return [{"role": "system", "content": THINK if think else DIRECT}, *messages]


def split_answer(answer: str) -> AnswerParts:
    """Return the thinking and the text of an answer of any form, without tags.

    Everything before the last </think> is thinking. If a <think> is not closed, the whole answer is the text, as in POLARIS.
    """
    before, closed, after = answer.rpartition("</think>")
    thinking = before.partition("<think>")[2] if "<think>" in before else before
    text = after if closed else answer
    opened = text.partition("<answer>")
    text = opened[2] if opened[1] else text
    return AnswerParts(
        thinking.strip() if closed else "",
        text.removesuffix("\n").rpartition("</answer>")[0].strip() if "</answer>" in text else text.strip(),
    )
