"""What a run on several machines needs besides its GPUs, for its plan."""

from __future__ import annotations

from training.planning.costs import Setup, traffic_bytes

NETWORK = 12.5e9
"""Bytes/s between two machines: 100 Gbit/s, an assumption."""


def between_bytes(setup: Setup, micro_steps: int) -> float:
    """Return the bytes of a step that pass from each machine to the next one in NCCL's ring.

    Under ZeRO-3 it is what each GPU sends in all micro-steps; otherwise the gradients are scattered and the weights gathered once.
    """
    if setup.learner.zero_stage == 3:
        return micro_steps * traffic_bytes(setup)
    return 2 * setup.bytes_per_weight * setup.trained * (setup.gpus - 1) / setup.gpus


def needs(setup: Setup, nodes: int, micro_steps: int) -> list[tuple[str, str]]:
    """Return the lines of the plan; none for one machine."""
    if nodes == 1:
        return []
    sent = between_bytes(setup, micro_steps)
    return [
        (f"{nodes}", f"machines with {setup.gpus // nodes} GPUs of the same kind each; memory of the host, above, is that of all together"),
        ("1 folder", "that all see at the same path, for the run: settings, events, checkpoints; and the model, in a folder or in copies"),
        ("1 port", "of the first machine, where all processes meet (torchrun's c10d rendezvous), and any TCP port between them: gloo, NCCL"),
        (f"{sent / 1e9:.1f} GB", f"from each machine to the next in a step, {sent / NETWORK:.1f} s at 100 Gbit/s, left out of the hours below"),
        ("not run", "on GPUs of several machines. What was run is two processes over gloo, in network namespaces of one machine"),
    ]  # fmt: skip
