"""The guard on runs that learn nothing: such a run is a failed run, whatever its recipe."""

from __future__ import annotations

from training.common.errors import MendableError

FIRST_STEPS = 20
"""The number of first steps of which at least one must have something to learn from."""
_USUAL = "the texts leave nothing to learn, or nothing that is trained takes part in them"


class LearnedGuard:
    """Counts the steps that had a gradient."""

    def __init__(self, done: int = 0, steps: int = 0) -> None:
        """`steps` of the `done` steps so far had one."""
        self.done, self.steps = done, steps
        self._nothing = ""

    def count(self, norm: float, nothing: str = "") -> None:
        """Count a step by its gradient norm; `nothing` says why there is none. Raises MendableError if none of the first steps had one."""
        self.done += 1
        self.steps += norm != 0
        self._nothing = nothing or self._nothing
        if self.done >= FIRST_STEPS:
            self.check_end()

    def check_end(self) -> None:
        """Raise MendableError if no step had a gradient."""
        if self.done and not self.steps:
            raise MendableError(
                f"The run learned nothing: the gradient of each of its {self.done:,} steps was 0, because {self._nothing or _USUAL}. Correct that, "
                "and start it in another run_dir."
            )
