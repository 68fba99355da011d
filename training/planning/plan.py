"""`python -m training plan FILE`: what a run would take, before anything starts, as a text to be read."""

from __future__ import annotations

import math

from training.config.learner import LearnerSettings
from training.planning.costs import (
    REACHED,
    RESERVE,
    SERVER_RESERVE,
    checkpoint_bytes,
    host_bytes,
    max_concurrent_sequences,
    memory,
    passes,
    server_weights,
    sync_bytes,
    traffic_bytes,
)
from training.planning.estimate import Plan, preference_shape
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


def show(plan: Plan) -> str:
    """Sections of lines: a figure, what it is of, and what it comes from."""
    sections = {
        f"{plan.recipe.name} of {plan.settings.model.name} on {plan.setup.gpus} x {plan.card_name}": _model(plan),
        "Memory of each GPU (1 GB is 10^9 bytes)": _memory(plan),
        "The server that writes the stories": _server(plan),
        "Memory of the host, and disk": _elsewhere(plan),
        "Work": _work(plan),
        f"Time, with {plan.card.flops / 1e12:.0f} TFLOP/s a GPU": _hours(plan),
    }
    sections = {title: rows for title, rows in sections.items() if rows}
    width = max(len(value) for rows in sections.values() for value, _ in rows)
    lines: list[str] = []
    for title, rows in sections.items():
        lines += [title, *(f"  {value:>{width}}  {what}" for value, what in rows), ""]
    return "\n".join([*lines, *_verdict(plan)])


def _model(plan: Plan) -> Rows:
    shape, learner = plan.shape, plan.settings.learner
    kinds = f": {shape.attention} with attention, {shape.delta} with Gated DeltaNet" if shape.delta else ""
    trained = f"trained, adapters of rank {learner.lora.rank}" if learner.lora else "trained, all of them"
    alone = [] if learner.zero_stage else [("1 GPU", "because zero_stage 0 is one process")]
    return [
        *alone,
        (f"{shape.layers} layers", f"of width {shape.hidden:,}{kinds} ({plan.shape_source})"),
        (
            _count(plan.setup.total),
            "parameters of the text model" + ("" if plan.setup.head else ", with one number as its head"),
        ),
        (_count(matmul_parameters(shape, head=plan.setup.head)), "of them multiplied with each token (N_mm)"),
        (_count(plan.setup.trained), trained),
    ]


def _memory(plan: Plan) -> Rows:
    found, learner = memory(plan.setup), plan.settings.learner
    divided = f", ZeRO-{learner.zero_stage}" if learner.zero_stage else ""
    most = f", for a micro-batch of {plan.setup.tokens:,} tokens"
    if plan.setup.tokens > learner.tokens_per_micro_batch:
        most += f" (the longest {'pair' if plan.recipe.example == 'pair' else 'text'}, which is not divided)"
    rows = [(_gb(size), what + divided) for what, size in found.stays.items() if size]
    slow = ", without flash-linear-attention's kernels, which need less" if plan.shape.delta else ""
    more = {"inputs of the layers": most, "activations of all layers": most + slow, "one layer made again": slow}
    rows += [(_gb(size), what + more.get(what, "")) for what, size in found.passing.items() if size]
    rows.append((_gb(RESERVE), "reserve: CUDA context, NCCL, gaps between allocations"))
    server = plan.server.memory if plan.server else 0
    if server:
        rows.append((_gb(server), "for the rollout server, on the GPUs that it shares"))
    if found.beside > server:
        rows.append((_gb(found.beside - server), "the preference model, on the first GPU"))
    states = RESERVE + found.beside + sum(found.stays.values())
    if found.updating > sum(found.passing.values()):
        rows.append((_gb(states + found.updating), "while the weights are updated, without activations"))
    if found.starting > found.peak - RESERVE - found.beside - 1:
        rows.append((_gb(found.starting), "the whole model at the start, before it is divided"))
    rows.append((_gb(found.peak), f"at the peak, of {_gb(plan.card.memory)} that the card has"))
    return rows


def _server(plan: Plan) -> Rows:
    settings, server, texts = plan.groups, plan.server, plan.texts
    if settings is None:
        return []
    unknown = settings.rewards.preference and preference_shape(plan.recipe, plan.settings) is None
    rows = [("?", "the preference model is not there yet: it takes room on the first GPU, too")] if unknown else []
    if settings.replay:
        return [*rows, ("none", "stories are learned from again, as another run's folder holds them")]
    if server is None:
        return [*rows, ("?", "it is somebody else's: neither its memory nor its time is in this plan")]
    rest = max(0.0, server.memory - server_weights(server) - SERVER_RESERVE)
    mean = (texts.asked + texts.written) / texts.stories
    return [
        *rows,
        (_gb(server.memory), f"of each of {server.cards} GPUs (rollouts.gpu_memory {settings.rollouts.gpu_memory:g})"),
        (
            _gb(server_weights(server)),
            f"of it weights, {_gb(SERVER_RESERVE)} reserve, {_gb(rest)} for stories under way",
        ),
        (
            f"{max_concurrent_sequences(server, mean):,}",
            f"stories at once of the {mean:,.0f} tokens that they have on average, prompt included",
        ),
        (f"{plan.max_concurrent_sequences:,}", f"at once if all were as long as they may be, {texts.longest:,} tokens"),
    ]


def _elsewhere(plan: Plan) -> Rows:
    keep, exported = plan.settings.keep, plan.setup.item * plan.setup.total
    saved = checkpoint_bytes(plan.setup)
    passed = sync_bytes(plan.setup) if plan.groups else 0
    again = "weights on their way to the rollout server: gathered, written, and those before"
    return [
        *((_gb(size), f"of the host's memory, {what}") for what, size in host_bytes(plan.setup).items()),
        *([(_gb(3 * passed), f"of the host's memory, {again}")] if passed else []),
        (_gb(saved), f"of disk for a checkpoint; {_gb(saved * (keep + 1))} with the {keep} kept and one being written"),
        (
            _gb(exported),
            "of disk for the model at the end" + (", adapters merged" if plan.settings.learner.lora else ""),
        ),
    ]


def _work(plan: Plan) -> Rows:
    texts, settings, groups, what = plan.texts, plan.settings, plan.groups, plan.recipe.noun
    rows = []
    if plan.known:
        rows.append((_count(texts.tokens), f"tokens in {texts.examples:,.0f} {what}, {texts.source}"))
    else:
        rows.append((f"{texts.tokens / texts.examples:,.0f}", f"tokens in one of the {what}, {texts.source}"))
    if groups:
        drawn = plan.examples * texts.stories / texts.examples
        most = f"{texts.written / texts.stories:,.0f} tokens each, as long as was asked and {groups.sampling.most_tokens:,} at most"
        rows.append((f"{drawn:,.0f}", f"stories of the policy in a step of {groups.batch} requests: {most}"))
        rows.append((f"{groups.batch * groups.group - drawn:,.0f}", "human stories in a step"))
    if texts.too_long:
        how = "refuse" if groups else settings.overlong
        done = {"refuse": "the run will refuse them", "drop": "dropped", "cut": "cut"}[how]
        rows.append((f"{texts.too_long:,}", f"{what} are longer than context ({settings.context:,} tokens): {done}"))
    if texts.unread:
        rows.append((f"{texts.unread:,}", "lines hold no text that this plan can see"))
    rows.append(
        (
            _count(plan.step_tokens),
            f"tokens of one step without padding; micro-batches of each GPU: at least {plan.micro_steps:,}",
        )
    )
    if plan.steps:
        epochs = "" if settings.steps else f" of {settings.epochs:g} epoch{'' if settings.epochs == 1 else 's'}"
        rows.append((f"{plan.steps:,}", f"steps{epochs}"))
        rows.append((_count(plan.steps * plan.step_tokens), "tokens of the run"))
    else:
        rows.append(("?", f"steps: neither data nor settings say; --texts N stands for {what} that are not there yet"))
    return [
        *rows,
        (
            _flops(plan.token_flops),
            f"forward for a token of a text of {texts.length:,.0f}: 2 N_mm + attention + DeltaNet",
        ),
        (f"times {passes(settings.learner)}", _why(settings.learner)),
        (_flops(plan.step_flops), "for one step"),
        *([(_flops(plan.step_flops * plan.steps), "for the run")] if plan.steps else []),
        *(
            [(_flops(plan.reference_flops), "for the reference model, once over all pairs")]
            if plan.reference_flops
            else []
        ),
    ]


def _why(learner: LearnerSettings) -> str:
    parts = ["forward", "gradients of inputs"] + ["of weights"] * (learner.lora is None)
    return ", ".join(parts) + (
        ", and forward again for gradient checkpointing" if learner.gradient_checkpointing else ""
    )


def _hours(plan: Plan) -> Rows:
    rows = [
        (
            _time(plan.hours(plan.step_flops)),
            "one step at the speed of light" + ", its stories learned from" * bool(plan.groups),
        ),
        (_time(plan.hours(plan.step_flops, plan.mfu)), f"one step at {plan.mfu:.0%} of it"),
    ]
    if plan.server:
        speed = f"{plan.card.bandwidth / 1e12:g} TB/s"
        rows.append((_time(plan.writing_hours), f"its stories written, at the {speed} of a GPU's memory"))
        rows.append((_time(plan.writing_hours / REACHED), f"the same at {REACHED:.0%} of it"))
    if plan.sync_hours:
        rows.append(
            (_time(plan.sync_hours), f"{_gb(sync_bytes(plan.setup))} of weights to the server, through the host")
        )
    if plan.server:
        stale = plan.groups is not None and plan.groups.rollouts.max_staleness
        order = "the longer of writing and learning" if stale else "writing, then learning"
        rows.append(
            (_time(plan.step_hours(plan.mfu, REACHED)), f"a step in all: {order}, and the weights; judges not counted")
        )
    gathered = traffic_bytes(plan.setup)
    if gathered:
        seconds = gathered / plan.card.link
        rows.append(
            (
                _time(plan.micro_steps * seconds / 3600),
                f"of a step for ZeRO-3's traffic, {_gb(gathered)} a micro-batch at {plan.card.link / 1e9:.0f} GB/s, partly hidden",
            )
        )
    if plan.reference_flops:
        rows.append(
            (_time(plan.hours(plan.reference_flops, plan.mfu)), f"the reference model's pass at {plan.mfu:.0%}")
        )
    if plan.steps:
        rows.append((_time(plan.run_hours()), "the run at the speed of light"))
        rows.append(
            (
                _time(plan.likely_hours),
                f"the run at {plan.mfu:.0%} of it" + f", and {REACHED:.0%} of the bandwidth" * bool(plan.server),
            )
        )
    return rows


def _verdict(plan: Plan) -> list[str]:
    spare = plan.card.memory - memory(plan.setup).peak
    if plan.fits:
        return [f"It fits: {_gb(spare)} of each GPU stay free."]
    if plan.max_concurrent_sequences == 0:
        return [
            f"It does not fit: the rollout server's share holds no story of {plan.texts.longest:,} tokens. It needs:",
            *(f"  {change}" for change in plan.changes),
        ]
    if not plan.changes:
        return [
            f"It does not fit: {_gb(-spare)} too much, and no change of these settings is enough. Use more or larger GPUs."
        ]
    return [
        f"It does not fit: {_gb(-spare)} too much. It would with any of:",
        *(f"  {change}" for change in plan.changes),
    ]
