"""The reward `preference`: the score of a reward model trained on the editors' votes (`python -m training reward_model`)."""

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
