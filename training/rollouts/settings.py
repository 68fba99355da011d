"""How stories are written and watched while a model learns from them. No torch is imported here.

Class defaults are the house's: the plain softmax is sampled, a deviation has a floor, a human advantage a cap and a clamp. POLARIS' and LongWriter-Zero's
own values are `training/recipes/files/papers/polaris.toml` and `longwriter-zero.toml`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from training.config.markers import FilledIn, Part
from training.config.recipe import RecipeSettings
from training.config.settings import Settings
from training.config.teacher import TeacherSettings
from training.rewards.settings import RewardSettings


class SamplingSettings(Settings):
    """How stories are drawn. Anything but the plain softmax draws from another policy than the one that learns (recipes.md 6.4)."""

    temperature: float = Field(1.0, gt=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0, le=10**6, description="0: all")
    repetition_penalty: float = Field(1.0, gt=0, le=2)
    most_tokens: int = Field(8192, ge=16, le=2**20, description="of an answer, thinking included")

    @property
    def plain(self) -> bool:
        return (self.temperature, self.top_p, self.top_k, self.repetition_penalty) == (1.0, 1.0, 0, 1.0)


class RolloutSettings(Settings):
    """The vLLM server that writes the stories, and how weights get to it."""

    url: Annotated[str, FilledIn()] = Field(
        "",
        pattern=r"^(https?://.*)?$",
        max_length=500,
        description="without the /v1; empty: the run starts one of its own",
    )
    key_variable: Annotated[str, FilledIn()] = Field("ROLLOUT_KEY", pattern=r"^[A-Z][A-Z0-9_]*$", max_length=100)
    sync: Annotated[Literal["memory", "nccl"], FilledIn()] = Field(
        "memory",
        description="weights through this machine's shared memory, or between GPUs; adapters always go through memory",
    )
    tensor_parallel: int = Field(1, ge=1, le=64, description="GPUs that the run's own server shares each layer among")
    gpu_memory: float = Field(
        0.25,
        gt=0,
        lt=1,
        description="share of each GPU's memory that the run's own server may take; the learner has the rest",
    )
    agreement: float = Field(
        0.02,
        gt=0,
        le=10,
        description="nats a token that server and learner may be apart after weights were handed over",
    )
    behind: Literal[0, 1] = Field(
        0, description="1: stories are written while the learner learns from those before, a step behind it"
    )
    truncate: float = Field(
        2.0, ge=1, le=100, description="how much likelier a token counts as, at most, where stories are a step behind"
    )
    seconds: float = Field(3600.0, gt=0, le=86_400, description="for one story")
    revivals: int = Field(3, ge=0, le=100, description="how often a server of the run's own that died is started again")


class HumanSettings(Settings):
    """Human-reference injection (POLARIS): one human story in each group, read and never written."""

    weight: float = Field(0.4, ge=0, le=10)
    ramp: int = Field(15, ge=0, le=10**6, description="steps in which the weight grows from 0")
    cap: float | None = Field(3.0, gt=0, le=1e9, description="the most that its advantage counts")
    clamp: bool = Field(True, description="an advantage below 0 counts as 0, so that no human story is unlearned")
    own_count: bool = Field(
        True, description="its loss is the mean over human tokens; off: over all tokens of the step, as in POLARIS"
    )

    def weight_at(self, step: int) -> float:
        """At `step`, from 0.

        >>> [round(HumanSettings().weight_at(step), 3) for step in (0, 1, 15, 100)]
        [0.0, 0.027, 0.4, 0.4]
        """
        return self.weight * min(1.0, step / self.ramp) if self.ramp else self.weight

    def bounded(self, advantage: float) -> tuple[float, bool]:
        """The advantage that counts, and whether it was clamped."""
        if self.clamp and advantage < 0:
            return 0.0, True
        return (advantage if self.cap is None else min(advantage, self.cap)), False


class GuardSettings(Settings):
    """What is watched besides the reward, and at what the run stops itself. A bound that is empty is watched and stops nothing."""

    judge: Annotated[TeacherSettings | None, FilledIn()] = Field(
        None, description="a second judge, which no reward comes from; another model than the first"
    )
    every: int = Field(10, ge=1, le=10**6, description="steps between two looks of the second judge and at the probes")
    stories: int = Field(
        16, ge=1, le=10_000, description="that the second judge reads each time, and that the divergence is of"
    )
    probes: int = Field(
        2,
        ge=0,
        le=100,
        description="stories that are made worse in five ways at each look, to see what the rewards make of it",
    )
    patience: int = Field(3, ge=1, le=1000, description="steps or looks in a row beyond a bound, before the run stops")
    length_ratio: float | None = Field(1.6, gt=0, le=1000, description="words got of words asked, or the inverse")
    repetition: float | None = Field(0.3, gt=0, le=1, description="share of runs of four tokens that stood before")
    entropy: float | None = Field(0.3, gt=0, le=100, description="nats a token, at least")
    divergence: float | None = Field(
        None, gt=0, le=100, description="nats a token from the model that the run began with, at most"
    )
    cut: float | None = Field(0.5, gt=0, le=1, description="share of stories that did not end")
    addresses_judge: float | None = Field(0.1, gt=0, le=1, description="share of stories that speak of being scored")
    disagreement: float | None = Field(
        0.15, gt=0, le=100, description="by how much the second judge's mean may fall while the first one's rises"
    )
    probe: float | None = Field(
        0.1,
        gt=0,
        le=100,
        description="by how much the rewards may like a text that was made worse better than the text",
    )


class GroupSettings(RecipeSettings):
    """What a recipe asks for that learns from groups of stories which the model writes, with human references."""

    overlong: Literal["cut"] = Field("cut", description="a human story; a request must fit")
    batch: int = Field(8, ge=1, le=10**5, description="requests of one optimizer step")
    group: int = Field(6, ge=2, le=1024, description="stories of a group, the human one included where there is one")
    human: Annotated[HumanSettings | None, Part("Human stories", 20)] = HumanSettings()
    thinking: Literal["none", "think", "direct"] = Field(
        "none",
        description="LongWriter-Zero's prompts: think before the answer, or answer only; none: the request as it is",
    )
    mean_within: int = Field(
        0,
        ge=0,
        le=10**5,
        description="0: the loss is the mean over all tokens of the step; else the mean of means over so many stories, as in POLARIS (2)",
    )
    rollouts: Annotated[RolloutSettings, Part("The server that writes the stories", 65)] = RolloutSettings()
    sampling: Annotated[SamplingSettings, Part("Sampling", 30)] = SamplingSettings()
    rewards: Annotated[RewardSettings, Part("How rewards are combined into advantages", 40)]
    guards: Annotated[GuardSettings, Part("What is watched, and stops the run", 60)] = GuardSettings()
    replay: Path | None = Field(None, description="a run's `rollouts` folder: learn from those stories, and write none")

    @model_validator(mode="after")
    def a_group_has_something_to_compare(self) -> GroupSettings:
        if self.human and self.group < 3:
            raise ValueError(
                "group must be 3 or more with human references: two stories of the model, to compare, and one human"
            )
        if self.rollouts.behind and not self.sampling.plain:
            raise ValueError(
                "stories a step behind need the plain softmax (temperature 1, top_p 1, top_k 0, repetition_penalty 1)"
            )
        if self.guards.judge and self.guards.judge == self.rewards.judge:
            raise ValueError("the second judge is the first one: name another model, or none")
        return self
