"""The reward `preference`: what a reward model that learned from the editors' votes gives a story (`python -m training reward_model`)."""

from __future__ import annotations

from training.config.declarations import Answer, Resources, Reward


async def score(answer: Answer, given: Resources) -> float:
    return await given.preference(answer)


REWARD = Reward(
    name="preference",
    meaning="A reward model that learned from the editors' votes scores the story, in log-odds.",
    needs=("preference",),
    score=score,
)
