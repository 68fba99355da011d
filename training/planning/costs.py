"""The costs of training: arithmetic, memory, traffic, disk. Each term is a small function with its formula. Does not import torch.

1 GB is 1e9 bytes; a multiplication and an addition are two FLOPs; tokens are the model's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from training.config.learner import LearnerSettings
from training.planning.shapes import Shape, head_parameters, lora_parameters, matmul_parameters, parameters

CHUNK = 64
"""Tokens that Gated DeltaNet processes together, in transformers and in the kernels."""
TILE = 2**29
"""Logits in a GPU's memory at once (training/objectives/logprobs.py)."""

# DeepSpeed 0.19's defaults, in elements (deepspeed/runtime/zero/config.py).
LIVE_PARAMETERS = 10**9
SUB_GROUP_ELEMENTS = 10**9
BUCKET_ELEMENTS = 5 * 10**8


@dataclass(frozen=True, slots=True)
class Card:
    """The figures of a GPU."""

    memory: float
    """Usable bytes, as CUDA reports them."""
    flops: float
    """Dense bfloat16 FLOP/s, by the data sheet."""
    link: float
    """Bytes/s that all-gather reaches over NVLink: about three quarters of the data sheet's figure for one direction."""
    bandwidth: float
    """Bytes/s from its own memory, by the data sheet."""


CARDS = {
    "a100-80": Card(79.2 * 2**30, 312e12, 230e9, 2.039e12),
    "h100": Card(79.2 * 2**30, 989e12, 340e9, 3.35e12),
    "h200": Card(139.8 * 2**30, 989e12, 340e9, 4.8e12),
}
RESERVE = 2.5e9
"""Bytes for the CUDA context, NCCL, cuBLAS, and gaps that the allocator cannot use."""
SERVER_RESERVE = 3e9
"""Bytes of a rollout server on each card: the same, captured graphs, and activations of the tokens of a prefill."""
BANDWIDTH_SHARE = 0.6
"""Assumed share of a card's bandwidth that a server reaches while it decodes."""
HOST_BANDWIDTH = 10e9
"""Assumed bytes/s of one process between a card and the host's shared memory."""


def attention_flops(shape: Shape, length: float) -> float:
    """Return the attention's FLOPs for one token forward in a text of `length` tokens: 4 * heads * head size * length / 2 per attention layer.

    A token attends to half of its text on average; queries by keys and weights by values are two FLOPs each.

    >>> from training.planning.shapes import KNOWN
    >>> round(attention_flops(KNOWN["Qwen3.5-9B"], 6256) / 1e9, 2)
    0.41
    """
    return shape.attention * 4 * shape.heads * shape.head_size * length / 2


def delta_flops(shape: Shape) -> float:
    """Return the FLOPs of one token forward in all DeltaNet layers, for a text of any length.

    A head reads its state for the key and for the query and writes it (6 * key * value); within a chunk of C tokens it computes
    half of three C x C products over keys and two over values (arXiv 2412.06464, section 3.3).

    >>> from training.planning.shapes import KNOWN
    >>> round(delta_flops(KNOWN["Qwen3.5-9B"]) / 1e9, 2)
    0.11
    """
    state = 6 * shape.key_size * shape.value_size
    chunk = CHUNK * (3 * shape.key_size + 2 * shape.value_size)
    return shape.delta * shape.value_heads * (state + chunk)


def forward_flops(shape: Shape, length: float, *, head: bool = True) -> float:
    """Return the FLOPs of one token forward: 2 * N_mm + attention + DeltaNet.

    >>> from training.planning.shapes import KNOWN
    >>> round(forward_flops(KNOWN["Qwen3.5-9B"], 6256) / 1e9, 1)
    16.4
    """
    return 2 * matmul_parameters(shape, head=head) + attention_flops(shape, length) + delta_flops(shape)


def passes(settings: LearnerSettings) -> int:
    """Return the cost of training on a token, in forward passes: 1 forward, 1 for gradients of inputs, 1 for gradients of weights (adapters
    need almost none), and 1 where activations are recomputed. (Attention is not recomputed, which saves about 1 %.)

    >>> passes(LearnerSettings()), passes(LearnerSettings(lora={}, gradient_checkpointing=False))
    (4, 2)
    """
    return 2 + (settings.lora is None) + settings.gradient_checkpointing


def layer_bytes(shape: Shape, *, delta: bool) -> float:
    """Return the bytes per token that one layer in bfloat16 saves for its backward pass.

    Fitted to what torch's saved-tensor hooks count in transformers 5.19, whose DeltaNet (without the kernels of
    flash-linear-attention) computes in float32 and saves a state for each chunk; the backward pass peaks at most 16 % above.
    """
    both = {"qwen3_5": 20, "gemma3": 36}.get(shape.family, 16) * shape.hidden + 8 * shape.feed_forward
    if delta:
        inner = 32 * shape.key_size + 34 * shape.value_size + 20.6 * CHUNK
        return both + 8 * shape.keys + shape.value_heads * (inner + 4 * shape.key_size * shape.value_size / CHUNK)
    per_query, per_key = {"qwen3_5": (18, 12), "gemma3": (12, 12), "qwen3": (10, 10)}.get(shape.family, (4, 4))
    return both + shape.head_size * (per_query * shape.heads + per_key * shape.kv_heads)


def item_bytes(settings: LearnerSettings) -> int:
    """Return the bytes of a weight; with precision "auto" a GPU computes in bfloat16."""
    return 4 if settings.precision == "float32" else 2


@dataclass(frozen=True, slots=True)
class Setup:
    """A model, how it is trained, and on how many GPUs."""

    shape: Shape
    learner: LearnerSettings
    gpus: int
    tokens: int
    """Tokens of the largest micro-batch."""
    head: bool = True
    """Whether there is an output head over the vocabulary."""
    other_bytes: float = 0
    """Bytes of a card that other models use."""

    @property
    def total(self) -> int:
        """All parameters."""
        return parameters(self.shape, head=self.head)

    @property
    def trained(self) -> int:
        """Parameters that are trained."""
        return lora_parameters(self.shape, self.learner.lora.rank) if self.learner.lora else self.total

    @property
    def bytes_per_weight(self) -> int:
        return item_bytes(self.learner)

    def zero_share(self, stage: int) -> float:
        """Return one GPU's share of something that ZeRO shards from `stage` on (arXiv 1910.02054)."""
        return 1 / self.gpus if self.learner.zero_stage >= stage else 1


@dataclass(slots=True)
class Memory:
    """Bytes of one GPU."""

    resident: dict[str, float] = field(default_factory=dict)
    """What is there all the time."""
    transient: dict[str, float] = field(default_factory=dict)
    """What a forward and backward pass adds."""
    update: float = 0
    """What the optimizer's step adds instead."""
    startup: float = 0
    """What is there at the start instead of all these."""
    other: float = 0
    """What other models use."""

    @property
    def peak(self) -> float:
        return (
            RESERVE
            + self.other
            + max(self.startup, sum(self.resident.values()) + max(sum(self.transient.values()), self.update))
        )


def state_bytes(setup: Setup) -> dict[str, float]:
    """Return the bytes of weights, gradients and Adam's states on one GPU: 2 + 4 + 4 + 8 per parameter in bfloat16, 4 + 4 + 8 in float32.

    Gradients add up in float32 (training/learner/engine.py). With offload the optimizer's states are in the host's memory, and at stage 3 the
    gradients too.
    """
    learner, trained = setup.learner, setup.trained
    half = setup.bytes_per_weight == 2
    offloaded = learner.offload != "none"
    return {
        "weights": 0 if learner.offload == "all" else setup.bytes_per_weight * setup.total * setup.zero_share(3),
        "gradients": 0 if offloaded and learner.zero_stage == 3 else 4 * trained * setup.zero_share(2),
        "float32 copies": 0 if offloaded or not half else 4 * trained * setup.zero_share(1),
        "Adam's two moments": 0 if offloaded else 8 * trained * setup.zero_share(1),
    }


def activation_bytes(setup: Setup) -> dict[str, float]:
    """Return the bytes of activations of the largest micro-batch. With gradient checkpointing the inputs of all layers and the outputs of
    attention are kept (training/learner/recompute.py), and one layer at a time is recomputed.

    Where the head is trained, its gradient is accumulated in float32 beside one tile's product (logprobs.py). The head is done before any layer's
    backward pass. A tile is there in float32 and in the model's precision, and in the forward pass also as a temporary copy in float32.
    """
    shape, tokens = setup.shape, setup.tokens
    scale = setup.bytes_per_weight / 2
    kinds = [layer_bytes(shape, delta=True)] * shape.delta + [layer_bytes(shape, delta=False)] * shape.attention
    learns = setup.head and setup.learner.lora is None
    head = (4 + setup.bytes_per_weight) * head_parameters(shape) if learns else 0
    tile = min(TILE, tokens * shape.vocabulary) if setup.head else 0
    head = max(10 * tile, head + 6 * tile)
    at_head = "gradient of the head, and a tile of logits" if learns else "tile of logits"
    found: dict[str, float] = {"final hidden states": 3 * setup.bytes_per_weight * shape.hidden * tokens}
    if setup.learner.gradient_checkpointing:
        found["inputs of the layers"] = setup.bytes_per_weight * shape.hidden * tokens * shape.layers
        output = setup.bytes_per_weight * shape.head_size + 4  # with the log-sum-exp, in float32
        found["outputs of attention"] = output * shape.heads * shape.attention * tokens
        layer = 1.16 * scale * max(kinds) * tokens
        found["one layer recomputed" if layer >= head else at_head] = max(layer, head)
    else:
        found["activations of all layers"] = scale * (sum(kinds) + 0.16 * max(kinds)) * tokens
        found[at_head] = head
    return found


def buffer_bytes(setup: Setup) -> dict[str, float]:
    """Return the bytes of DeepSpeed's buffers: gathered weights of the current layers, and gradients in transfer (two overlapping buckets).
    At stage 1 they are sums in float32. The largest matrix does not fit into a bucket and has a buffer of its own."""
    stage, item, total = setup.learner.zero_stage, setup.bytes_per_weight, setup.total
    sent = 4 if stage == 1 else item
    largest = head_parameters(setup.shape)
    if not stage:
        return {}
    buckets: dict[str, float] = {"buckets of gradients": sent * min(2 * BUCKET_ELEMENTS, 2 * setup.trained)}
    if setup.learner.lora is None:
        buckets["gradient of the embedding"] = sent * largest
    gathered: dict[str, float] = (
        {"gathered weights": item * min(LIVE_PARAMETERS + largest, total)} if stage == 3 else {}
    )
    return gathered | buckets


def update_bytes(setup: Setup) -> float:
    """Return the bytes of ZeRO's gradients in float32 during the optimizer's step, one sub-group at a time."""
    if not setup.learner.zero_stage or setup.learner.offload != "none" or setup.bytes_per_weight == 4:
        return 0
    group = SUB_GROUP_ELEMENTS if setup.learner.zero_stage == 3 else setup.trained
    return 4 * min(setup.trained * setup.zero_share(1), group)


def memory(setup: Setup) -> Memory:
    """Return the memory of one GPU. At startup it has the whole model, or at stage 3 its share and one weight (training/learner/parts.py)."""
    return Memory(
        resident=state_bytes(setup),
        transient=activation_bytes(setup) | buffer_bytes(setup),
        update=update_bytes(setup),
        startup=setup.bytes_per_weight * (setup.total * setup.zero_share(3) + _largest(setup)),
        other=setup.other_bytes,
    )


def _largest(setup: Setup) -> int:
    """The largest weight, which each process has whole while it loads its parts; 0 where it loads the whole model."""
    return head_parameters(setup.shape) if setup.learner.zero_stage == 3 and setup.gpus > 1 else 0


def host_bytes(setup: Setup) -> dict[str, float]:
    """Return bytes of the machine's own memory: at startup, when each process loads the model, and during the run, for what is offloaded.

    Float32 weights, moments and gradients are 16 bytes per trained parameter; with offload "all" the weights are there too.
    """
    held = _largest(setup) or setup.total
    found = {"at startup, when each process loads the model": float(setup.bytes_per_weight * held * setup.gpus)}
    if setup.learner.offload != "none":
        weights = setup.bytes_per_weight * setup.total if setup.learner.offload == "all" else 0
        found["offloaded"] = 16 * setup.trained + weights
    return found


def checkpoint_bytes(setup: Setup) -> float:
    """Return the bytes of a checkpoint: float32 weights and two moments of what is trained, and with ZeRO the trained weights in bfloat16 too."""
    again = setup.bytes_per_weight if setup.learner.zero_stage and setup.bytes_per_weight == 2 else 0
    return (12 + again) * setup.trained


def traffic_bytes(setup: Setup) -> float:
    """Return the bytes that each GPU sends and receives in one micro-step under ZeRO-3: weights are gathered for the forward pass and again
    for the backward pass, gradients are scattered once (arXiv 1910.02054, section 7.2); frozen weights have no gradients.

    >>> from training.planning.shapes import KNOWN
    >>> round(traffic_bytes(Setup(KNOWN["Qwen3.5-9B"], LearnerSettings(zero_stage=3), 4, 8192)) / 1e9, 1)
    40.3
    """
    if setup.learner.zero_stage != 3:
        return 0
    return setup.bytes_per_weight * (2 * setup.total + setup.trained) * (setup.gpus - 1) / setup.gpus


# Costs of the server that writes the stories of a run


@dataclass(frozen=True, slots=True)
class Server:
    """A vLLM server on the first GPUs of the learner, with tensor parallelism."""

    shape: Shape
    cards: int
    """Number of GPUs that share each layer."""
    memory: float
    """Bytes that it may use on each."""
    bytes_per_weight: int = 2


def server_weights(server: Server) -> float:
    """Return the bytes of weights on each card: all parameters / cards.

    >>> from training.planning.shapes import KNOWN
    >>> round(server_weights(Server(KNOWN["Qwen3.5-9B"], 4, 17e9)) / 1e9, 2)
    4.48
    """
    return server.bytes_per_weight * parameters(server.shape) / server.cards


def token_bytes(server: Server) -> float:
    """Return the bytes of a token's keys and values on each card: 2 * kv heads * head size per attention layer. A card has at least one head.

    >>> from training.planning.shapes import KNOWN
    >>> token_bytes(Server(KNOWN["Qwen3.5-9B"], 1, 0)), token_bytes(Server(KNOWN["Qwen3.5-9B"], 8, 0))
    (32768.0, 8192.0)
    """
    shape = server.shape
    return (
        2
        * shape.kv_heads
        * shape.head_size
        * shape.attention
        * server.bytes_per_weight
        / min(server.cards, shape.kv_heads)
    )


def recurrent_bytes(server: Server) -> float:
    """Return the bytes of a story's DeltaNet states on each card, for any length: key x value in float32 per head, and the last inputs of the
    convolution.

    >>> from training.planning.shapes import KNOWN
    >>> round(recurrent_bytes(Server(KNOWN["Qwen3.5-9B"], 1, 0)) / 1e6, 1)
    51.5
    """
    shape = server.shape
    state = 4 * shape.value_heads * shape.key_size * shape.value_size
    inputs = server.bytes_per_weight * (shape.kernel - 1) * (2 * shape.keys + shape.values)
    return shape.delta * (state + inputs) / server.cards


def max_concurrent_sequences(server: Server, tokens: float) -> int:
    """Return how many stories of `tokens` tokens the server can write at once: its memory, less weights and reserve, over a story's bytes.

    >>> from training.planning.shapes import KNOWN
    >>> max_concurrent_sequences(Server(KNOWN["Qwen3.5-9B"], 4, 17e9), 8448), max_concurrent_sequences(Server(KNOWN["Qwen3.5-9B"], 1, 17e9), 8448)
    (116, 0)
    """
    left = server.memory - server_weights(server) - SERVER_RESERVE
    return max(0, int(left / (token_bytes(server) * tokens + recurrent_bytes(server))))


def writing_seconds(server: Server, card: Card, stories: float, prompt: float, answer: float) -> float:
    """Return the seconds in which the server writes `stories` at the card's full bandwidth, which bounds decoding.

    A step that adds a token to all stories reads the weights, and for each story its keys and values so far (half of the answer on average), and
    reads and writes its states:

        answer * (rounds * weights + stories * (token * (prompt + answer / 2) + 2 * recurrent)) / bandwidth

    Stories that do not fit wait: rounds = stories / max_concurrent_sequences, and at least 1. The prefill is left out.

    >>> from training.planning.shapes import KNOWN
    >>> round(writing_seconds(Server(KNOWN["Qwen3.5-9B"], 4, 17e9), CARDS["a100-80"], 40, 256, 8192), 1)
    25.8
    """
    rounds = max(1.0, stories / max(1, max_concurrent_sequences(server, prompt + answer)))
    weights = server.bytes_per_weight * matmul_parameters(server.shape) / server.cards
    each = token_bytes(server) * (prompt + answer / 2) + 2 * recurrent_bytes(server)
    return answer * (rounds * weights + stories * each) / card.bandwidth


def sync_bytes(setup: Setup) -> float:
    """Return the bytes that go to the server after each step: all weights, or the adapters."""
    return setup.bytes_per_weight * (setup.trained if setup.learner.lora else setup.total)


def sync_seconds(setup: Setup) -> float:
    """Return the seconds in which the learner writes the weights to the host's memory and the server reads them from there.

    >>> from training.planning.shapes import KNOWN
    >>> round(sync_seconds(Setup(KNOWN["Qwen3.5-9B"], LearnerSettings(zero_stage=3), 4, 8192)), 1)
    3.6
    """
    return 2 * sync_bytes(setup) / HOST_BANDWIDTH


def shared_memory_bytes(setup: Setup) -> float:
    """Return the bytes of /dev/shm on the way to the server: the weights that are written, and those before, which it may still read."""
    return 2 * sync_bytes(setup)
