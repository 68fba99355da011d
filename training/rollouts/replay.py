"""Reads the groups of a step from a dump: with the setting `replay` stories are neither written nor scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from training.common.errors import MendableError
from training.rollouts.gather import Group, GroupRequest
from training.rollouts.records import HUMAN, read_dump, step_name


def replayed_groups(rollouts: Path, step: int, requested: Sequence[GroupRequest]) -> Iterator[Group]:
    """The groups in order. Raises MendableError if the folder lacks the step or one of its stories."""
    dump = read_dump(rollouts, step)
    if dump is None:
        raise MendableError(f"Step {step + 1} cannot be replayed: {rollouts} has no {step_name(step)}.jsonl.")
    try:
        for number, (request, stories, human) in enumerate(requested):
            places = [(number, story) for story in range(stories)]
            yield Group(
                number, request, [dump.stories[place] for place in places], [dump.scores[place] for place in places],
                dump.scores[number, HUMAN] if human else None,
            )  # fmt: skip
    except KeyError as error:
        raise MendableError(
            f"{dump.path} lacks story {error}: it is of a run with other settings, or was never finished."
        ) from None
