"""What training takes: arithmetic, memory, traffic, disk. Each term is a small function with its formula; no torch is imported here.

Bytes are bytes and 1 GB is 1e9 of them; FLOPs count a multiplication and an addition as two; tokens are the model's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from training.config.learner import LearnerSettings
from training.planning.shapes import Shape, head_parameters, lora_parameters, matmul_parameters, parameters

CHUNK = 64
"""Tokens that Gated DeltaNet takes together, in transformers as in the kernels."""
TILE = 2**24
"""Logits held at once (training/objectives/logprobs.py)."""

# DeepSpeed 0.19's defaults, in elements (deepspeed/runtime/zero/config.py).
LIVE = 10**9
BUCKET = 5 * 10**8
SUB_GROUP = 10**9


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU: usable bytes (what CUDA reports), dense bfloat16 FLOP/s of the data sheet, bytes/s to its neighbours and, of the data sheet, from its memory.

    The link is what all-gather reaches of NVLink, some three quarters of the data sheet's figure for one direction.
    """

    memory: float
    flops: float
    link: float
    bandwidth: float


CARDS = {
    "a100-80": Card(79.2 * 2**30, 312e12, 230e9, 2.039e12),
    "h100": Card(79.2 * 2**30, 989e12, 340e9, 3.35e12),
    "h200": Card(139.8 * 2**30, 989e12, 340e9, 4.8e12),
}
RESERVE = 2.5e9
"""For the CUDA context, NCCL, cuBLAS, and what the allocator cannot use."""
SERVER_RESERVE = 3e9
"""Of a rollout server on each card: the same, captured graphs, and activations of the tokens that it reads at once."""
REACHED = 0.6
"""The share of a card's bandwidth that a server is taken to reach while it writes."""
HOST = 10e9
"""Bytes/s that one process is taken to move between a card and the host's shared memory."""


def attention_flops(shape: Shape, length: float) -> float:
    """Of one token forward, in a text of `length`: 4 * heads * head size * length / 2 for each layer that attends.

    A token looks at half of its text on average; queries by keys and weights by values are two FLOPs each.

    >>> from training.planning.shapes import KNOWN
    >>> round(attention_flops(KNOWN["Qwen3.5-9B"], 6256) / 1e9, 2)
    0.41
    """
    return shape.attention * 4 * shape.heads * shape.head_size * length / 2


def delta_flops(shape: Shape) -> float:
    """Of one token forward in all DeltaNet layers, whatever the length of the text.

    A head reads its state for the key and for the query and writes it (6 * key * value); within a chunk of C tokens it makes
    half of three C x C products over keys and two over values (arXiv 2412.06464, section 3.3).

    >>> from training.planning.shapes import KNOWN
    >>> round(delta_flops(KNOWN["Qwen3.5-9B"]) / 1e9, 2)
    0.11
    """
    state = 6 * shape.key_size * shape.value_size
    chunk = CHUNK * (3 * shape.key_size + 2 * shape.value_size)
    return shape.delta * shape.value_heads * (state + chunk)


def forward_flops(shape: Shape, length: float, *, head: bool = True) -> float:
    """f, of one token: 2 * N_mm + attention + DeltaNet.

    >>> from training.planning.shapes import KNOWN
    >>> round(forward_flops(KNOWN["Qwen3.5-9B"], 6256) / 1e9, 1)
    16.4
    """
    return 2 * matmul_parameters(shape, head=head) + attention_flops(shape, length) + delta_flops(shape)


def passes(settings: LearnerSettings) -> int:
    """Forward passes' worth of a training token: forward 1, gradients of inputs 1, of weights 1 (adapters have next to none),
    and 1 more where activations are made again. (Attention is not, which saves about a hundredth.)

    >>> passes(LearnerSettings()), passes(LearnerSettings(lora={}, gradient_checkpointing=False))
    (4, 2)
    """
    return 2 + (settings.lora is None) + settings.gradient_checkpointing


def layer_bytes(shape: Shape, *, delta: bool) -> float:
    """What one layer in bfloat16 keeps of one token for its backward pass.

    Fitted to what torch's saved-tensor hooks count in transformers 5.19, whose DeltaNet (without the kernels of
    flash-linear-attention) works in float32 and keeps a state for each chunk; the backward pass peaks at most 16 % above.
    """
    gated = shape.family == "qwen3_5"
    both = (20 if gated else 16) * shape.hidden + 8 * shape.feed_forward
    if delta:
        inner = 32 * shape.key_size + 34 * shape.value_size + 20.6 * CHUNK
        return both + 8 * shape.keys + shape.value_heads * (inner + 4 * shape.key_size * shape.value_size / CHUNK)
    per_query, per_key = {"qwen3_5": (18, 12), "qwen3": (10, 10), "qwen2": (4, 4), "llama": (4, 4)}[shape.family]
    return both + shape.head_size * (per_query * shape.heads + per_key * shape.kv_heads)


@dataclass(frozen=True, slots=True)
class Setup:
    """Who trains what on how much: `tokens` of the largest micro-batch, `head` if there is an output head over words, and the bytes of
    a card that others take (`beside`)."""

    shape: Shape
    learner: LearnerSettings
    gpus: int
    tokens: int
    head: bool = True
    beside: float = 0

    @property
    def total(self) -> int:
        return parameters(self.shape, head=self.head)

    @property
    def trained(self) -> int:
        return lora_parameters(self.shape, self.learner.lora.rank) if self.learner.lora else self.total

    @property
    def item(self) -> int:
        """Bytes of a weight."""
        return 2 if self.learner.precision == "bfloat16" else 4

    def share(self, stage: int) -> float:
        """Of something that ZeRO divides from `stage` on (arXiv 1910.02054): what one GPU has."""
        return 1 / self.gpus if self.learner.zero_stage >= stage else 1


@dataclass(slots=True)
class Memory:
    """Bytes of one GPU: what stays, what comes and goes in a pass, and what two other moments need instead."""

    stays: dict[str, float] = field(default_factory=dict)
    passing: dict[str, float] = field(default_factory=dict)
    updating: float = 0
    starting: float = 0
    beside: float = 0

    @property
    def peak(self) -> float:
        return (
            RESERVE
            + self.beside
            + max(self.starting, sum(self.stays.values()) + max(sum(self.passing.values()), self.updating))
        )


def state_bytes(setup: Setup) -> dict[str, float]:
    """Weights, gradients, and Adam's states of one GPU: 2 + 2 + 4 + 8 bytes a parameter in bfloat16, 4 + 4 + 8 in float32.

    Plain torch adds gradients up in float32 (training/learner/engine.py). With offload, what the optimizer has is in the host's
    memory, gradients too from stage 2 on.
    """
    learner, trained = setup.learner, setup.trained
    half = setup.item == 2
    gradient = 4 if half and not learner.zero_stage else setup.item
    away = learner.offload != "none"
    return {
        "weights": 0 if learner.offload == "all" else setup.item * setup.total * setup.share(3),
        "gradients": 0 if away and learner.zero_stage > 1 else gradient * trained * setup.share(2),
        "float32 copies": 0 if away or not half else 4 * trained * setup.share(1),
        "Adam's two moments": 0 if away else 8 * trained * setup.share(1),
    }


def activation_bytes(setup: Setup) -> dict[str, float]:
    """Of the largest micro-batch. With checkpointing the inputs of all layers are kept and what attention answered
    (training/learner/recompute.py), and one layer is made again at a time.

    Where the head learns, its gradient is added up in float32 beside one tile's product (logprobs.py) before any layer works.
    """
    shape, tokens = setup.shape, setup.tokens
    scale = setup.item / 2
    kinds = [layer_bytes(shape, delta=True)] * shape.delta + [layer_bytes(shape, delta=False)] * shape.attention
    learns = setup.head and setup.learner.lora is None
    head = (4 + setup.item) * head_parameters(shape) if learns else 0
    found: dict[str, float] = {"final hidden states": 3 * setup.item * shape.hidden * tokens}
    if setup.learner.gradient_checkpointing:
        found["inputs of the layers"] = setup.item * shape.hidden * tokens * shape.layers
        answer = setup.item * shape.head_size + 4  # and the logarithm of its sum, in float32
        found["answers of attention"] = answer * shape.heads * shape.attention * tokens
        layer = 1.16 * scale * max(kinds) * tokens
        found["one layer made again" if layer >= head else "gradient of the head"] = max(layer, head)
    else:
        found["activations of all layers"] = scale * (sum(kinds) + 0.16 * max(kinds)) * tokens
        found["gradient of the head"] = head
    if setup.head:
        found["tile of logits"] = (
            2.5 * 4 * TILE
        )  # as float32, in the model's precision, and one more while it is scored
    return found


def buffer_bytes(setup: Setup) -> dict[str, float]:
    """DeepSpeed's: weights gathered for the layers at hand, and gradients on their way to their owners (two buckets, which
    overlap). The largest matrix does not fit a bucket and has its own."""
    stage, item, total = setup.learner.zero_stage, setup.item, setup.total
    largest = head_parameters(setup.shape)
    if not stage:
        return {}
    buckets: dict[str, float] = {"buckets of gradients": item * min(2 * BUCKET, 2 * setup.trained)}
    if setup.learner.lora is None:
        buckets["gradient of the embedding"] = item * largest
    gathered: dict[str, float] = {"gathered weights": item * min(LIVE + largest, total)} if stage == 3 else {}
    return gathered | buckets


def update_bytes(setup: Setup) -> float:
    """While the optimizer works: ZeRO's gradients in float32, a sub-group at a time."""
    if not setup.learner.zero_stage or setup.learner.offload != "none" or setup.item == 4:
        return 0
    return 4 * min(setup.trained * setup.share(1), SUB_GROUP if setup.learner.zero_stage == 3 else setup.trained)


def memory(setup: Setup) -> Memory:
    """Of one GPU. At the start each has the whole model, before ZeRO divides it."""
    return Memory(
        stays=state_bytes(setup),
        passing=activation_bytes(setup) | buffer_bytes(setup),
        updating=update_bytes(setup),
        starting=setup.item * setup.total,
        beside=setup.beside,
    )


def host_bytes(setup: Setup) -> dict[str, float]:
    """The machine's own memory: reading the model in each process, and for the whole run what is offloaded.

    Offloaded: float32 weights, moments and gradients, 16 bytes a trained parameter; the weights themselves as well with "all".
    """
    found = {"while the model is read, by each process for itself": float(setup.item * setup.total * setup.gpus)}
    if setup.learner.offload != "none":
        weights = setup.item * setup.total if setup.learner.offload == "all" else 0
        found["offloaded"] = 16 * setup.trained + weights
    return found


def checkpoint_bytes(setup: Setup) -> float:
    """Float32 weights and two moments of what is trained, and with ZeRO the trained weights once more as the model has them."""
    again = setup.item if setup.learner.zero_stage and setup.item == 2 else 0
    return (12 + again) * setup.trained


def traffic_bytes(setup: Setup) -> float:
    """What each GPU sends and receives in one micro-step under ZeRO-3: weights gathered for the pass forward and again for the
    one back, gradients scattered once (arXiv 1910.02054, section 7.2); frozen weights have no gradients.

    >>> from training.planning.shapes import KNOWN
    >>> round(traffic_bytes(Setup(KNOWN["Qwen3.5-9B"], LearnerSettings(zero_stage=3), 4, 8192)) / 1e9, 1)
    40.3
    """
    if setup.learner.zero_stage != 3:
        return 0
    return setup.item * (2 * setup.total + setup.trained) * (setup.gpus - 1) / setup.gpus


# What a server takes that writes the stories of a run


@dataclass(frozen=True, slots=True)
class Server:
    """A vLLM on the first `cards` of the learner's, which share each layer: the bytes that it may take of each, and those of a weight."""

    shape: Shape
    cards: int
    memory: float
    item: int = 2


def server_weights(server: Server) -> float:
    """Bytes on each card: all parameters / cards.

    >>> from training.planning.shapes import KNOWN
    >>> round(server_weights(Server(KNOWN["Qwen3.5-9B"], 4, 17e9)) / 1e9, 2)
    4.48
    """
    return server.item * parameters(server.shape) / server.cards


def token_bytes(server: Server) -> float:
    """What each card keeps of a token: key and value, 2 * kv heads * head size for each layer that attends. A card has one of the heads at least.

    >>> from training.planning.shapes import KNOWN
    >>> token_bytes(Server(KNOWN["Qwen3.5-9B"], 1, 0)), token_bytes(Server(KNOWN["Qwen3.5-9B"], 8, 0))
    (32768.0, 8192.0)
    """
    shape = server.shape
    return 2 * shape.kv_heads * shape.head_size * shape.attention * server.item / min(server.cards, shape.kv_heads)


def recurrent_bytes(server: Server) -> float:
    """What each card keeps of a story's DeltaNet layers, whatever its length: a state of key x value in float32 for each head, and the last inputs
    of the convolution.

    >>> from training.planning.shapes import KNOWN
    >>> round(recurrent_bytes(Server(KNOWN["Qwen3.5-9B"], 1, 0)) / 1e6, 1)
    51.5
    """
    shape = server.shape
    state = 4 * shape.value_heads * shape.key_size * shape.value_size
    inputs = server.item * (shape.kernel - 1) * (2 * shape.keys + shape.values)
    return shape.delta * (state + inputs) / server.cards


def max_concurrent_sequences(server: Server, tokens: float) -> int:
    """How many stories of so many tokens it can be writing at once: what it may take, less weights and reserve, over what a story takes.

    >>> from training.planning.shapes import KNOWN
    >>> max_concurrent_sequences(Server(KNOWN["Qwen3.5-9B"], 4, 17e9), 8448), max_concurrent_sequences(Server(KNOWN["Qwen3.5-9B"], 1, 17e9), 8448)
    (116, 0)
    """
    left = server.memory - server_weights(server) - SERVER_RESERVE
    return max(0, int(left / (token_bytes(server) * tokens + recurrent_bytes(server))))


def writing_seconds(server: Server, card: Card, stories: float, prompt: float, answer: float) -> float:
    """Of `stories` at the card's bandwidth, which bounds decoding. Each token of all stories at once reads the weights, and for each story the keys and
    values so far, half of the answer on average, and reads and writes the states:

        answer * (rounds * weights + stories * (token * (prompt + answer / 2) + 2 * recurrent)) / bandwidth

    Stories that it cannot hold at once wait: rounds = stories / max_concurrent_sequences, and at least 1. The prompt's own pass is left out.

    >>> from training.planning.shapes import KNOWN
    >>> round(writing_seconds(Server(KNOWN["Qwen3.5-9B"], 4, 17e9), CARDS["a100-80"], 40, 256, 8192), 1)
    25.8
    """
    rounds = max(1.0, stories / max(1, max_concurrent_sequences(server, prompt + answer)))
    weights = server.item * matmul_parameters(server.shape) / server.cards
    each = token_bytes(server) * (prompt + answer / 2) + 2 * recurrent_bytes(server)
    return answer * (rounds * weights + stories * each) / card.bandwidth


def sync_bytes(setup: Setup) -> float:
    """Of the weights that go to the server after each step: all of them, or the adapters."""
    return setup.item * (setup.trained if setup.learner.lora else setup.total)


def sync_seconds(setup: Setup) -> float:
    """Written to the host's memory by the learner, and read from there by the server.

    >>> from training.planning.shapes import KNOWN
    >>> round(sync_seconds(Setup(KNOWN["Qwen3.5-9B"], LearnerSettings(zero_stage=3), 4, 8192)), 1)
    3.6
    """
    return 2 * sync_bytes(setup) / HOST
