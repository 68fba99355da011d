"""The text of `python -m training plan FILE`: what a run needs, before anything starts."""

from __future__ import annotations

import math

from training.common.served import SERVED_RANK
from training.config.learner import LearnerSettings
from training.config.markers import UNTRIED
from training.planning.costs import (
    BANDWIDTH_SHARE,
    RESERVE,
    SERVER_RESERVE,
    checkpoint_bytes,
    host_bytes,
    max_concurrent_sequences,
    memory,
    passes,
    server_weights,
    shared_memory_bytes,
    sync_bytes,
    traffic_bytes,
)
from training.planning.estimate import Plan, preference_shape
from training.planning.machines import needs
from training.planning.pauses import DISK_BANDWIDTH, checkpoint_seconds, loading_seconds
from training.planning.shapes import matmul_parameters


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 5e7 else f"{size / 1e6:.1f} MB"


def _time(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} hours"
    return f"{hours * 60:.1f} minutes" if hours * 60 >= 1 else f"{hours * 3600:.1f} s"


def _flops(flops: float) -> str:
    power = min(6, max(3, int(math.log10(max(flops, 1)) // 3)))
    return f"{flops / 1000**power:,.1f} {' KMGTPE'[power]}FLOP"


def _count(number: float) -> str:
    return (
        f"{number / 1e9:.3f} billion"
        if number >= 1e9
        else f"{number / 1e6:.1f} million"
        if number >= 1e6
        else f"{number:,.0f}"
    )


Rows = list[tuple[str, str]]
MARK = "*"
"""Of lines that are computed and that no GPU has shown."""


def _untried(rows: Rows) -> Rows:
    return [(value, f"{what} {MARK}") for value, what in rows]


def format_plan(plan: Plan) -> str:
    """Return sections of lines, each with a figure, its meaning and its origin."""
    sections = {
        f"{plan.recipe.name} of {plan.settings.model.name} on {_cards(plan)}": _model(plan),
        "Memory of each GPU (1 GB is 10^9 bytes)": _untried(_memory(plan)),
        "The server that writes the stories": _untried(_server(plan)),
        "Memory of the host, and disk": _elsewhere(plan),
        "Several machines": needs(plan.setup, plan.nodes, plan.micro_steps),
        "Work": _work(plan),
        f"Time, with {plan.card.flops / 1e12:.0f} TFLOP/s a GPU": _untried(_hours(plan)),
    }
    sections = {title: rows for title, rows in sections.items() if rows}
    width = max(len(value) for rows in sections.values() for value, _ in rows)
    lines: list[str] = []
    for title, rows in sections.items():
        lines += [title, *(f"  {value:>{width}}  {what}" for value, what in rows), ""]
    return "\n".join([*lines, f"{MARK} {UNTRIED}", *_conclusion(plan)])


def _cards(plan: Plan) -> str:
    machines = f"{plan.nodes} machines of " if plan.nodes > 1 else ""
    return f"{machines}{plan.setup.gpus // plan.nodes} x {plan.card_name}"


def _model(plan: Plan) -> Rows:
    shape, learner = plan.shape, plan.settings.learner
    kinds = f": {shape.attention} with attention, {shape.delta} with Gated DeltaNet" if shape.delta else ""
    trained = f"trained, adapters of rank {learner.lora.rank}" if learner.lora else "trained, all of them"
    trained += ", which the run continues" * bool(plan.settings.adapter)
    whole = learner.lora is not None and learner.lora.rank > SERVED_RANK
    served = [
        (
            f"rank {SERVED_RANK}",
            "is the highest that the site's server loads: the result is served as a whole model, by a server of its own",
        )
    ]
    single = [] if learner.zero_stage else [("1 GPU", "because zero_stage 0 is one process")]
    return [
        *single,
        (f"{shape.layers} layers", f"of width {shape.hidden:,}{kinds} ({plan.shape_source})"),
        (
            _count(plan.setup.total),
            "parameters of the text model" + ("" if plan.setup.head else ", with one number as its head"),
        ),
        (_count(matmul_parameters(shape, head=plan.setup.head)), "of these are multiplied with each token (N_mm)"),
        (_count(plan.setup.trained), trained),
        *(served if whole else []),
    ]


def _memory(plan: Plan) -> Rows:
    found, learner = memory(plan.setup), plan.settings.learner
    sharded = f", ZeRO-{learner.zero_stage}" if learner.zero_stage else ""
    batch = f", for a micro-batch of {plan.setup.tokens:,} tokens"
    if plan.setup.tokens > learner.micro_batch(plan.card.memory):
        batch += f" (the longest {'pair' if plan.recipe.example == 'pair' else 'text'}, which is not divided)"
    rows = [(_gb(size), what + sharded) for what, size in found.resident.items() if size]
    slow = ", without flash-linear-attention's kernels, which need less" if plan.shape.delta else ""
    more = {"inputs of the layers": batch, "activations of all layers": batch + slow, "one layer recomputed": slow}
    rows += [(_gb(size), what + more.get(what, "")) for what, size in found.transient.items() if size]
    rows.append((_gb(RESERVE), "reserve: CUDA context, NCCL, gaps between allocations"))
    server = plan.server.memory if plan.server else 0
    if server:
        rows.append((_gb(server), "for the rollout server, on the GPUs that it shares"))
    if found.other > server:
        rows.append((_gb(found.other - server), "the preference model, on the first GPU"))
    states = RESERVE + found.other + sum(found.resident.values())
    if found.update > sum(found.transient.values()):
        rows.append((_gb(states + found.update), "while the weights are updated, without activations"))
    if found.startup > found.peak - RESERVE - found.other - 1:
        rows.append((_gb(found.startup), "at the start, while the model is loaded"))
    rows.append((_gb(found.peak), f"at the peak, of the GPU's {_gb(plan.card.memory)}"))
    return rows


def _server(plan: Plan) -> Rows:
    settings, server, texts = plan.groups, plan.server, plan.texts
    if settings is None:
        return []
    unknown = settings.rewards.preference and preference_shape(plan.recipe, plan.settings) is None
    rows = [("?", "the preference model does not exist yet: it needs memory of the first GPU, too")] if unknown else []
    if settings.replay:
        return [*rows, ("none", "the stories come from another run's folder")]
    if server is None:
        return [*rows, ("?", "it is not started by the run: this plan leaves out its memory and its time")]
    rest = max(0.0, server.memory - server_weights(server) - SERVER_RESERVE)
    mean = (texts.prompt_tokens + texts.answer_tokens) / texts.stories
    return [
        *rows,
        (_gb(server.memory), f"of each of {server.cards} GPUs (rollouts.gpu_memory {settings.rollouts.gpu_memory:g})"),
        (
            _gb(server_weights(server)),
            f"of these for weights, {_gb(SERVER_RESERVE)} reserve, {_gb(rest)} for stories being written",
        ),
        (
            f"{max_concurrent_sequences(server, mean):,}",
            f"stories at once at their mean length of {mean:,.0f} tokens, prompt included",
        ),
        (f"{plan.max_concurrent_sequences:,}", f"stories at once at their greatest length of {texts.longest:,} tokens"),
    ]


def _elsewhere(plan: Plan) -> Rows:
    keep, exported = plan.settings.keep, plan.setup.bytes_per_weight * plan.setup.total
    checkpoint = checkpoint_bytes(plan.setup)
    synced = sync_bytes(plan.setup) if plan.groups else 0
    copies = "for weights in transfer to the rollout server: gathered, written, and the previous ones"
    return [
        *((_gb(size), f"of the host's memory, {what}") for what, size in host_bytes(plan.setup).items()),
        *(
            [
                (
                    _gb(3 * synced),
                    f"of the host's memory, {copies}; {_gb(shared_memory_bytes(plan.setup))} of them in /dev/shm",
                )
            ]
            if synced
            else []
        ),
        (
            _gb(checkpoint),
            f"of disk for a checkpoint; {_gb(checkpoint * (keep + 1))} for {keep} that are kept and one being written",
        ),
        (
            _gb(exported),
            "of disk for the final model" + (", adapters merged" if plan.settings.learner.lora else ""),
        ),
    ]


def _work(plan: Plan) -> Rows:
    texts, settings, groups, what = plan.texts, plan.settings, plan.groups, plan.recipe.noun
    rows = []
    if plan.known:
        rows.append((_count(texts.tokens), f"tokens in {texts.examples:,.0f} {what}, {texts.source}"))
    else:
        rows.append((f"{texts.tokens / texts.examples:,.0f}", f"tokens in one of the {what}, {texts.source}"))
    for name, weight, examples, tokens in texts.mixed:
        rows.append((_count(tokens), f"of them of {name}, with weight {weight:g}: {examples:,.0f} {what}"))
    if groups:
        sampled = plan.examples * texts.stories / texts.examples
        length = f"{texts.answer_tokens / texts.stories:,.0f} tokens each on average, {groups.sampling.most_tokens:,} at most"
        rows.append((f"{sampled:,.0f}", f"stories of the policy in a step of {groups.batch} requests: {length}"))
        rows.append((f"{groups.batch * groups.group - sampled:,.0f}", "human stories in a step"))
        rows.append(("sampled", f"at {groups.sampling}"))
    if texts.too_long:
        how = "refuse" if groups else settings.overlong
        done = {"refuse": "the run will refuse them", "drop": "dropped", "cut": "cut"}[how]
        rows.append((f"{texts.too_long:,}", f"{what} are longer than context ({settings.context:,} tokens): {done}"))
    if texts.unread:
        rows.append((f"{texts.unread:,}", "lines have no text that this plan can read"))
    rows.append(
        (
            _count(plan.step_tokens),
            f"tokens of one step without padding, in at least {plan.micro_steps:,} micro-batches per GPU",
        )
    )
    if plan.steps:
        epochs = "" if settings.steps else f" of {settings.epochs:g} epoch{'' if settings.epochs == 1 else 's'}"
        rows.append((f"{plan.steps:,}", f"steps{epochs}"))
        rows.append((_count(plan.steps * plan.step_tokens), "tokens of the run"))
    else:
        rows.append(("?", f"steps: neither data nor settings say; --texts N gives the number of {what} to expect"))
    return [
        *rows,
        (
            _flops(plan.token_flops),
            f"forward for one token, in texts of {texts.length:,.0f} tokens: 2 N_mm + attention + DeltaNet",
        ),
        (f"times {passes(settings.learner)}", _passes(settings.learner)),
        (_flops(plan.step_flops), "for one step"),
        *([(_flops(plan.step_flops * plan.steps), "for the run")] if plan.steps else []),
        *(
            [(_flops(plan.reference_flops), "for the reference model's pass over all pairs")]
            if plan.reference_flops
            else []
        ),
    ]


def _passes(learner: LearnerSettings) -> str:
    parts = ["forward", "gradients of inputs"]
    if learner.lora is None:
        parts.append("gradients of weights")
    if learner.gradient_checkpointing:
        parts.append("forward again for gradient checkpointing")
    return ", ".join(parts)


def _hours(plan: Plan) -> Rows:
    rows = [
        (
            _time(plan.hours(plan.step_flops)),
            "learning of one step at full FLOP/s" if plan.groups else "one step at full FLOP/s",
        ),
        (_time(plan.hours(plan.step_flops, plan.mfu)), f"the same at {plan.mfu:.0%} of the FLOP/s"),
    ]
    if plan.server:
        speed = f"{plan.card.bandwidth / 1e12:g} TB/s"
        rows.append((_time(plan.writing_hours), f"writing of the step's stories at the memory's full {speed}"))
        rows.append(
            (_time(plan.writing_hours / BANDWIDTH_SHARE), f"the same at {BANDWIDTH_SHARE:.0%} of the bandwidth")
        )
    if plan.sync_hours:
        rows.append(
            (_time(plan.sync_hours), f"{_gb(sync_bytes(plan.setup))} of weights to the server, through the host")
        )
    if plan.server:
        stale = plan.groups is not None and plan.groups.rollouts.max_staleness
        order = "the longer of writing and learning" if stale else "writing, then learning"
        rows.append(
            (
                _time(plan.step_hours(plan.mfu, BANDWIDTH_SHARE)),
                f"a whole step: {order}, and the weights, without judges",
            )
        )
    if plan.tile_hours:
        rows.append((_time(plan.tile_hours), "of one step for adding up the gradients of the head's tiles"))
    gathered = traffic_bytes(plan.setup)
    if gathered:
        seconds = gathered / plan.card.link
        rows.append(
            (
                _time(plan.micro_steps * seconds / 3600),
                f"ZeRO-3's traffic in a step, {_gb(gathered)} per micro-batch at {plan.card.link / 1e9:.0f} GB/s, partly overlapped",
            )
        )
    if plan.reference_flops:
        rows.append(
            (_time(plan.hours(plan.reference_flops, plan.mfu)), f"the reference model's pass at {plan.mfu:.0%}")
        )
    speed = f"at {DISK_BANDWIDTH / 1e9:g} GB/s each"
    rows.append(
        (_time(loading_seconds(plan.setup) / 3600), f"for the model to be read and hashed at the start, {speed}")
    )
    rows.append(
        (_time(checkpoint_seconds(plan.setup) / 3600), f"for each checkpoint to be written and hashed, {speed}")
    )
    if plan.steps:
        rows.append((_time(plan.run_hours()), "the run at full FLOP/s" + " and full bandwidth" * bool(plan.server)))
        rows.append(
            (
                _time(plan.likely_hours),
                f"the run at {plan.mfu:.0%} of the FLOP/s"
                + f" and {BANDWIDTH_SHARE:.0%} of the bandwidth" * bool(plan.server),
            )
        )
    return rows


def _conclusion(plan: Plan) -> list[str]:
    spare = plan.card.memory - memory(plan.setup).peak
    if plan.fits:
        shared = shared_memory_bytes(plan.setup) if plan.sync_hours else 0
        room = f" /dev/shm needs {_gb(shared)}: in a container its size is TRAINER_SHM." if shared else ""
        return [f"It fits: {_gb(spare)} of each GPU are free.{room}"]
    if plan.max_concurrent_sequences == 0:
        return [
            f"It does not fit: the rollout server's share of memory holds no story of {plan.texts.longest:,} tokens. It needs:",
            *(f"  {change}" for change in plan.changes),
        ]
    if not plan.changes:
        return [
            f"It does not fit: {_gb(-spare)} too much, and no change of these settings is enough. Use more or larger GPUs."
        ]
    return [
        f"It does not fit: {_gb(-spare)} too much. Each of these changes makes it fit:",
        *(f"  {change}" for change in plan.changes),
    ]
