"""An estimate of what a run needs, from its settings, the model's shape and the data. The terms are in costs.py.

Everything is computed, not measured: memory is estimated on the high side, and hours leave out loading data, evaluation and waiting for
other GPUs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from training.common.errors import MendableError
from training.config.adapter import with_adapter
from training.config.declarations import GroupSettings, Recipe, group_settings
from training.config.learner import LearnerSettings
from training.config.recipe import RecipeSettings
from training.planning.costs import (
    BANDWIDTH_SHARE,
    CARDS,
    SERVER_RESERVE,
    Card,
    Server,
    Setup,
    forward_flops,
    item_bytes,
    max_concurrent_sequences,
    memory,
    passes,
    recurrent_bytes,
    server_weights,
    sync_seconds,
    token_bytes,
    writing_seconds,
)
from training.planning.pauses import checkpoint_seconds, loading_seconds, tile_seconds
from training.planning.shapes import Shape, find_shape, parameters
from training.planning.token_counts import DEFAULT_WORDS, TokenCounts, count_texts

DEFAULT_REQUEST_WORDS = 150.0
"""Words of a request, where there is no data to count."""


@dataclass(slots=True)
class Plan:
    """The estimate for a run. `texts` counts the whole data if `known`; otherwise it is one assumed example."""

    recipe: Recipe
    settings: RecipeSettings
    shape: Shape
    shape_source: str
    card: Card
    card_name: str
    setup: Setup
    texts: TokenCounts
    known: bool
    mfu: float = 0.4
    server: Server | None = None
    """The run's own server, which writes its stories."""
    nodes: int = 1
    """Machines, of which each has the same part of the GPUs."""
    changes: list[str] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        return memory(self.setup).peak <= self.card.memory and self.max_concurrent_sequences != 0

    @property
    def max_concurrent_sequences(self) -> int | None:
        """How many stories of the greatest length the server can write at once; it does not start with 0. None without a server."""
        return max_concurrent_sequences(self.server, self.texts.longest) if self.server else None

    @property
    def examples(self) -> float:
        """Examples of one step: in pretraining, texts or pieces of texts."""
        values = vars(self.settings)
        if "batch_tokens" in values:
            return float(values["batch_tokens"] * self.texts.examples / self.texts.tokens)
        return float(values["batch"])

    @property
    def groups(self) -> GroupSettings | None:
        """The settings, if the run learns from groups."""
        return group_settings(self.recipe, self.settings)

    @property
    def step_tokens(self) -> float:
        return self.examples * self.texts.tokens / self.texts.examples

    @property
    def steps(self) -> int | None:
        """Steps of the run; None if neither the settings nor the data determine them."""
        if self.settings.steps or not self.known:
            return self.settings.steps
        # like the recipes, whose last step of an epoch takes the rest
        return max(1, round(self.settings.epochs * math.ceil(self.texts.examples / self.examples - 1e-9)))

    @property
    def token_flops(self) -> float:
        """FLOPs of one token forward."""
        return forward_flops(self.shape, self.texts.length, head=self.setup.head)

    @property
    def step_flops(self) -> float:
        return self.step_tokens * passes(self.settings.learner) * self.token_flops

    @property
    def reference_flops(self) -> float:
        """FLOPs of the reference model's one pass over all pairs; 0 without a reference model or if the pairs are unknown."""
        return self.texts.tokens * self.token_flops if self.known and self.recipe.reference else 0

    @property
    def micro_steps(self) -> int:
        """The least number of micro-batches of a step, each of which gathers the weights under ZeRO-3."""
        return math.ceil(self.step_tokens / self.setup.tokens / self.setup.gpus)

    @property
    def tile_hours(self) -> float:
        """Hours of one step in which a GPU adds up the gradients of the head's tiles, if all tokens are learned."""
        return tile_seconds(self.setup, self.card, self.step_tokens / self.setup.gpus) / 3600

    @property
    def checkpoints(self) -> int:
        """How many the run writes."""
        return math.ceil((self.steps or 0) / self.settings.checkpoint_every)

    def hours(self, flops: float, mfu: float = 1.0) -> float:
        return flops / (self.card.flops * mfu * self.setup.gpus) / 3600

    @property
    def writing_hours(self) -> float:
        """Hours for the stories of one step at the full bandwidth; 0 where another server writes them."""
        if self.server is None:
            return 0
        texts = self.texts
        stories = self.examples * texts.stories / texts.examples
        prompt, answer = texts.prompt_tokens / texts.stories, texts.answer_tokens / texts.stories
        return writing_seconds(self.server, self.card, stories, prompt, answer) / 3600

    @property
    def sync_hours(self) -> float:
        """Hours of one step in which the weights go to a server."""
        return sync_seconds(self.setup) / 3600 if self.groups and not self.groups.replay else 0

    def step_hours(self, mfu: float = 1.0, bandwidth_share: float = 1.0) -> float:
        """Hours of one step. Where stories are written a step ahead, the longer of writing and learning counts; otherwise their sum."""
        learning, writing = self.hours(self.step_flops, mfu) + self.tile_hours, self.writing_hours / bandwidth_share
        stale = self.groups is not None and self.groups.rollouts.max_staleness
        return (max(learning, writing) if stale else learning + writing) + self.sync_hours

    def run_hours(self, mfu: float = 1.0, bandwidth_share: float = 1.0) -> float:
        steps = (self.steps or 0) * self.step_hours(mfu, bandwidth_share)
        pauses = loading_seconds(self.setup) + self.checkpoints * checkpoint_seconds(self.setup)
        return steps + pauses / 3600 + self.hours(self.reference_flops, mfu)

    @property
    def likely_hours(self) -> float:
        return self.run_hours(self.mfu, BANDWIDTH_SHARE)


def make_plan(
    recipe: Recipe,
    settings: RecipeSettings,
    *,
    gpus: int = 4,
    nodes: int = 1,
    gpu: str = "a100-80",
    texts: int | None = None,
    words: float | None = None,
    tokens_per_word: float = 1.35,
    mfu: float = 0.4,
) -> Plan:
    """Estimate a run on `nodes` machines with `gpus` GPUs each. `texts` and `words` are the number and the length of the texts to assume where the data files do not exist; `mfu` is
    the share of the GPUs' FLOP/s that is reached, counting recomputed activations as work.

    Raises MendableError for impossible values, for a model of unknown shape, and where none of the data can be used.
    """
    if gpu not in CARDS:
        raise MendableError(f"The GPU {gpu!r} is not known: choose one of {', '.join(CARDS)}.")
    if (
        min(gpus, nodes) < 1
        or not 0 < mfu <= 1
        or min(tokens_per_word, 1 if words is None else words, 1 if texts is None else texts) <= 0
    ):
        raise MendableError(
            "A plan needs at least one GPU and one machine, texts, words and tokens above 0, and mfu between 0 and 1."
        )
    settings = with_adapter(settings)
    shape, source = find_shape(settings.model)
    found = count_texts(recipe, settings, tokens_per_word, words or DEFAULT_WORDS)
    known = bool(found.examples) or texts is not None
    if not found.examples:
        if found.too_long or found.unread:
            raise MendableError(
                f"None of the data can be used ({found.source}): {found.too_long:,} examples are longer than context "
                f"({settings.context:,} tokens), {found.unread:,} lines have no text."
            )
        found = _assumed(recipe, settings, texts, words, tokens_per_word)
    gpus, nodes = (gpus, nodes) if settings.learner.zero_stage else (1, 1)
    card = CARDS[gpu]
    server = _server(recipe, settings, shape, gpus, card)
    setup = _setup(recipe, settings, shape, nodes * gpus, found.longest, card)
    plan = Plan(recipe, settings, shape, source, card, gpu, setup, found, known, mfu, server, nodes)
    if not plan.fits:
        plan.changes = _changes(plan)
    return plan


def _assumed(
    recipe: Recipe, settings: RecipeSettings, texts: int | None, words: float | None, tokens_per_word: float
) -> TokenCounts:
    several = recipe.texts_per_example
    found, tokens = TokenCounts(), (words or DEFAULT_WORDS) * tokens_per_word
    if groups := group_settings(recipe, settings):
        found.add_group(min(DEFAULT_REQUEST_WORDS * tokens_per_word, settings.context / 2), tokens, tokens, groups)
    else:
        found.add([min(tokens, settings.context)] * several, recipe, settings)
    found.multiply(texts or 1)
    found.longest = settings.context * several  # the most that the settings allow
    found.source = f"assuming {words or DEFAULT_WORDS:,.0f} words each" + (
        "" if words else ", because neither data nor --words say"
    )
    return found


def _setup(recipe: Recipe, settings: RecipeSettings, shape: Shape, gpus: int, longest: int, card: Card) -> Setup:
    tokens = max(settings.learner.micro_batch(card.memory), longest)
    server, prefers = _server(recipe, settings, shape, gpus, card), preference_shape(recipe, settings)
    other = server.memory if server else 0.0
    if prefers is not None:
        other += item_bytes(settings.learner) * parameters(prefers, head=False)
    return Setup(shape, settings.learner, gpus, tokens, head=recipe.head == "words", other_bytes=other)


def _server(recipe: Recipe, settings: RecipeSettings, shape: Shape, gpus: int, card: Card) -> Server | None:
    groups = group_settings(recipe, settings)
    if groups is None or groups.rollouts.url or groups.replay:
        return None
    given = groups.rollouts
    if given.tensor_parallel > gpus:
        raise MendableError(
            f"The rollout server needs {given.tensor_parallel} GPUs to share each layer, and the run has {gpus}: lower rollouts.tensor_parallel."
        )
    return Server(shape, given.tensor_parallel, given.gpu_memory * card.memory, item_bytes(settings.learner))


def preference_shape(recipe: Recipe, settings: RecipeSettings) -> Shape | None:
    """Return the shape of the reward model, which is on the first GPU; None without one, or if its folder does not exist yet."""
    groups = group_settings(recipe, settings)
    path = groups.rewards.preference if groups else None
    return find_shape(path)[0] if path is not None and (path / "config.json").is_file() else None


def _changes(plan: Plan) -> list[str]:
    """Return changes of the settings each of which makes the run fit; if none does, several of them together."""
    now, longest = plan.settings.learner, plan.texts.longest
    micro_batch = now.micro_batch(plan.card.memory)
    if plan.max_concurrent_sequences == 0:
        return ["a larger rollouts.gpu_memory, a larger rollouts.tensor_parallel, or a smaller context"]

    def fits(change: dict[str, Any], longest: int = longest) -> bool:
        try:
            learner = LearnerSettings.model_validate(now.model_dump() | change)
        except ValidationError:
            return False
        settings = plan.settings.model_copy(update={"learner": learner})
        return (
            memory(_setup(plan.recipe, settings, plan.shape, plan.setup.gpus, longest, plan.card)).peak
            <= plan.card.memory
        )

    tries: list[tuple[bool, str, dict[str, Any]]] = [
        (not now.gradient_checkpointing, "learner.gradient_checkpointing = true", {"gradient_checkpointing": True}),
        (now.precision == "float32", 'learner.precision = "bfloat16"', {"precision": "bfloat16"}),
        (0 < now.zero_stage < 3, "learner.zero_stage = 3", {"zero_stage": 3}),
        (
            micro_batch > longest,
            f"learner.tokens_per_micro_batch = {longest}",
            {"tokens_per_micro_batch": longest},
        ),
        (
            now.offload == "none" and now.zero_stage > 0,
            'learner.offload = "optimizer", if the host has enough memory',
            {"offload": "optimizer"},
        ),
        (now.lora is None, "[learner.lora], adapters instead of all weights", {"lora": {}}),
    ]
    useful = [(name, change) for wanted, name, change in tries if wanted]
    found = [name for name, change in useful if fits(change)]
    found += _smaller_server(plan)
    half = plan.settings.context // 2
    if half >= 2048 and micro_batch < longest and fits({}, longest // 2):
        found.append(f"context = {half}")
    together: dict[str, Any] = {}
    for number, (_, change) in enumerate(useful, 1):
        together |= change
        if not found and fits(together):
            return [" and ".join(name for name, _ in useful[:number])]
    return found


def _smaller_server(plan: Plan) -> list[str]:
    """Return the share of the GPUs' memory that the learner leaves, if the server can write a story within it."""
    if plan.server is None:
        return []
    server, longest = plan.server, plan.texts.longest
    least = server_weights(server) + SERVER_RESERVE + token_bytes(server) * longest + recurrent_bytes(server)
    share = math.floor((server.memory + plan.card.memory - memory(plan.setup).peak) / plan.card.memory * 100) / 100
    return [f"rollouts.gpu_memory = {share:g}"] if share * plan.card.memory >= least else []
