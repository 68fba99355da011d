"""How stories are written and checked while a model learns from them. No torch is imported here.

Class defaults are ours: stories are sampled from the plain softmax, a group's deviation has a minimum, a human story's advantage a cap and a clamp.
POLARIS' and LongWriter-Zero's own values are in `training/recipes/files/papers/polaris.toml` and `longwriter-zero.toml`. Settings that had other names
before keep those as aliases.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, model_validator

from training.config.markers import UNTRIED, FilledIn, Part
from training.config.recipe import RecipeSettings
from training.config.settings import Settings
from training.config.teacher import TeacherSettings
from training.rewards.settings import RewardSettings


class SamplingSettings(Settings):
    """How stories are sampled. Anything but the softmax at a temperature samples from another policy than the one that learns."""

    temperature: float = Field(
        1.0, gt=0, le=2, description="Divides the logits, where stories are sampled and where they are scored."
    )
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0, le=10**6, description="0 samples from all tokens.")
    repetition_penalty: float = Field(1.0, gt=0, le=2)
    most_tokens: int = Field(8192, ge=16, le=2**20, description="Limits an answer, with its thinking.")

    @property
    def plain(self) -> bool:
        return (self.temperature, self.top_p, self.top_k, self.repetition_penalty) == (1.0, 1.0, 0, 1.0)

    def __str__(self) -> str:
        """
        >>> print(SamplingSettings(temperature=0.8))
        temperature 0.8, which is what the learner scores
        >>> print(SamplingSettings(top_p=0.95, top_k=20))
        temperature 1, top-p 0.95, top-k 20; the learner scores the whole softmax at this temperature
        """
        changes = [f"top-p {self.top_p:g}"] * (self.top_p < 1) + [f"top-k {self.top_k}"] * bool(self.top_k)
        changes += [f"repetition penalty {self.repetition_penalty:g}"] * (self.repetition_penalty != 1)
        sampled = ", ".join([f"temperature {self.temperature:g}", *changes])
        if changes:
            return f"{sampled}; the learner scores the whole softmax at this temperature"
        return f"{sampled}, which is what the learner scores"


Url = Annotated[str, Field(pattern=r"^(https?://.*)?$", max_length=500)]


class RolloutSettings(Settings):
    """The vLLM server that writes the stories, and how it gets the weights."""

    url: Annotated[Url | tuple[Url, ...], FilledIn()] = Field(
        "",
        description="Names the server, or several in a list, without the /v1; where it is empty, the run starts a server of its own.",
    )
    key_variable: Annotated[str, FilledIn()] = Field("ROLLOUT_KEY", pattern=r"^[A-Z][A-Z0-9_]*$", max_length=100)
    sync: Annotated[Literal["memory", "nccl"], FilledIn()] = Field(
        "memory",
        description="Transfers weights through this machine's shared memory (through the run's folder, if a server is on another machine), or between GPUs; adapters always go the first way.",
    )
    tensor_parallel: int = Field(
        1, ge=1, le=64, description="Sets the number of GPUs that share each layer of the run's own server. " + UNTRIED
    )
    gpu_memory: float = Field(
        0.25,
        gt=0,
        lt=1,
        description="Sets the share of each GPU's memory that the run's own server may take; the learner has the rest. "
        + UNTRIED,
    )
    logprob_tolerance: float = Field(
        0.02,
        validation_alias=AliasChoices("logprob_tolerance", "agreement"),
        gt=0,
        le=10,
        description="Limits how far server and learner may differ after a transfer of weights, in nats a token.",
    )
    max_staleness: Literal[0, 1] = Field(
        0,
        validation_alias=AliasChoices("max_staleness", "behind"),
        description="With 1, stories are written while the learner learns from those before, so their weights are one step old.",
    )
    importance_ratio_cap: float = Field(
        2.0,
        validation_alias=AliasChoices("importance_ratio_cap", "truncate"),
        ge=1,
        le=100,
        description="Caps the ratio of a token's probability now to that when it was sampled, where weights are one step old.",
    )
    seconds: float = Field(3600.0, gt=0, le=86_400, description="Limits the time for one story.")
    restarts: int = Field(
        3,
        validation_alias=AliasChoices("restarts", "revivals"),
        ge=0,
        le=100,
        description="Limits how often a server of the run's own that died is restarted.",
    )

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of the servers; none where the run starts its own."""
        given = (self.url,) if isinstance(self.url, str) else self.url
        return tuple(one.rstrip("/") for one in given if one)

    @model_validator(mode="after")
    def every_server_is_reached(self) -> RolloutSettings:
        if len(set(self.urls)) < len(self.urls):
            raise ValueError("url names a server twice")
        if self.sync == "nccl" and len(self.urls) > 1:
            raise ValueError("sync nccl reaches one server: name one in url, or take sync memory")
        return self


class HumanSettings(Settings):
    """Human-reference injection (POLARIS): each group has one human story, which the learner reads."""

    weight: float = Field(0.4, ge=0, le=10)
    ramp: int = Field(15, ge=0, le=10**6, description="Sets the number of steps in which the weight grows from 0.")
    cap: float | None = Field(3.0, gt=0, le=1e9, description="Caps its advantage, above and below 0.")
    clamp: bool = Field(True, description="Counts an advantage below 0 as 0, so that no human story is unlearned.")
    own_count: bool = Field(
        True,
        description="Takes the mean of its loss over human tokens; otherwise it is over all tokens of the step, as in POLARIS.",
    )

    def weight_at(self, step: int) -> float:
        """The weight at `step`, from 0.

        >>> [round(HumanSettings().weight_at(step), 3) for step in (0, 1, 15, 100)]
        [0.0, 0.027, 0.4, 0.4]
        """
        return self.weight * min(1.0, step / self.ramp) if self.ramp else self.weight

    def bounded(self, advantage: float) -> tuple[float, bool]:
        """The advantage that counts, and whether it was clamped."""
        if self.clamp and advantage < 0:
            return 0.0, True
        return (advantage if self.cap is None else min(max(advantage, -self.cap), self.cap)), False


class GuardSettings(Settings):
    """The monitored metrics and their limits. A metric without a limit is only reported."""

    judge: Annotated[TeacherSettings | None, FilledIn()] = Field(
        None, description="Names a second judge, which no reward comes from; it must be another model than the first."
    )
    every: int = Field(
        10,
        ge=1,
        le=10**6,
        description="Sets the number of steps from one check by the second judge and the probes to the next.",
    )
    stories: int = Field(
        16,
        ge=1,
        le=10_000,
        description="Sets the number of stories that the second judge reads at a check, and that the divergence is measured on.",
    )
    probes: int = Field(
        2,
        ge=0,
        le=100,
        description="Sets the number of stories that are made worse in five ways at each check, to see what the rewards give them.",
    )
    patience: int = Field(
        3,
        ge=1,
        le=1000,
        description="Sets the number of steps or checks in a row that exceed a bound before the run stops.",
    )
    length_ratio: float | None = Field(
        1.6, gt=0, le=1000, description="Bounds the ratio of words written to words asked for, and its inverse."
    )
    absent: float | None = Field(
        0.5,
        gt=0,
        le=1,
        description="Bounds the share of stories that could not be scored, so that nothing is learned from them.",
    )
    repetition: float | None = Field(
        0.3, gt=0, le=1, description="Bounds the share of runs of four tokens that stood before."
    )
    entropy: float | None = Field(0.3, gt=0, le=100, description="Sets the least entropy, in nats a token.")
    divergence: float | None = Field(
        None, gt=0, le=100, description="Bounds the divergence from the model that the run began with, in nats a token."
    )
    cut: float | None = Field(0.5, gt=0, le=1, description="Bounds the share of stories that did not end.")
    addresses_judge: float | None = Field(
        0.1, gt=0, le=1, description="Bounds the share of stories that speak of being scored."
    )
    disagreement: float | None = Field(
        0.15, gt=0, le=100, description="Bounds the fall of the second judge's mean while the first one's rises."
    )
    probe: float | None = Field(
        0.1,
        gt=0,
        le=100,
        description="Bounds how much higher the rewards may rate a text that was made worse than the text itself.",
    )


class GroupSettings(RecipeSettings):
    """Settings of a recipe that learns from groups of stories which the model writes, with human references."""

    overlong: Literal["cut"] = Field("cut", description="Cuts a human story that is too long; a request must fit.")
    batch: int = Field(8, ge=1, le=10**5, description="Sets the number of requests in one optimizer step.")
    group: int = Field(
        6, ge=2, le=1024, description="Sets the number of stories in a group, with the human one where there is one."
    )
    human: Annotated[HumanSettings | None, Part("Human stories", 20)] = HumanSettings()
    thinking: Literal["none", "think", "direct"] = Field(
        "none",
        description="Adds one of LongWriter-Zero's prompts, to think before the answer or to answer only; with none the request stays as it is.",
    )
    mean_within: int = Field(
        0,
        ge=0,
        le=10**5,
        description="With 0 the loss is the mean over all tokens of the step; otherwise the mean of means over this many stories, as in POLARIS (2).",
    )
    rollouts: Annotated[RolloutSettings, Part("The server that writes the stories", 65)] = RolloutSettings()
    sampling: Annotated[SamplingSettings, Part("Sampling", 30)] = SamplingSettings()
    rewards: Annotated[RewardSettings, Part("How rewards are combined into advantages", 40)]
    guards: Annotated[GuardSettings, Part("What is checked, and stops the run", 60)] = GuardSettings()
    replay: Path | None = Field(
        None, description="Names a run's `rollouts` folder: the run learns from those stories and writes none."
    )

    @model_validator(mode="after")
    def a_group_has_something_to_compare(self) -> GroupSettings:
        if self.human and self.group < 3:
            raise ValueError(
                "group must be 3 or more with human references: two stories of the model, to compare, and one human"
            )
        if self.rollouts.max_staleness and not self.sampling.plain:
            raise ValueError(
                "max_staleness 1 needs the plain softmax (temperature 1, top_p 1, top_k 0, repetition_penalty 1)"
            )
        if self.guards.judge and self.guards.judge == self.rewards.judge:
            raise ValueError("the second judge is the first one: name another model, or none")
        return self
