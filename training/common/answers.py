"""The parts of an answer: thinking, tags and text; and the prompts that ask for this form (LongWriter-Zero).

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
"""Our words for what the paper's two prompts ask (recipes.md 2.3)."""


class Parts(NamedTuple):
    thinking: str
    text: str


def thinking_prompt(messages: list[Message], *, think: bool = True) -> list[Message]:
    """The request with what LongWriter-Zero asks of the form of its answer, or with its variant without thinking."""
    return [{"role": "system", "content": THINK if think else DIRECT}, *messages]


def parts(answer: str) -> Parts:
    """The thinking and the text of an answer, whatever its form.

    What stands before the last </think> is thinking. A <think> that nothing closes hides nothing: the whole answer is the text then, as in
    POLARIS (recipes.md 1.4). Tags about the text are taken off.
    """
    before, closed, after = answer.rpartition("</think>")
    thinking = before.partition("<think>")[2] if "<think>" in before else before
    text = after if closed else answer
    opened = text.partition("<answer>")
    text = opened[2] if opened[1] else text
    return Parts(
        thinking.strip() if closed else "",
        text.removesuffix("\n").rpartition("</answer>")[0].strip() if "</answer>" in text else text.strip(),
    )
