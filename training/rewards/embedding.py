"""Sentence vectors from the token embeddings of a run's initial model: no other model is needed, and the policy cannot change them.

A sentence is the mean of its tokens' embeddings, each weighted by a / (a + p) where p is the token's share of the text, without the common component of
all sentences of the text (smooth inverse frequency; Arora, Liang and Ma, ICLR 2017). Sentences with the same meaning have similar vectors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from training.common.errors import MendableError
from training.common.model_folder import check_folder
from training.config.declarations import Vectors
from training.datasets.encoding import ChatEncoder

RARE = 1e-3
"""a: tokens much rarer than this count fully."""


class SentenceVectors:
    def __init__(self, embeddings_VD: npt.NDArray[np.float32], encode: Callable[[str], Sequence[int]]) -> None:
        lengths = np.linalg.norm(embeddings_VD, axis=1, keepdims=True)
        self._embeddings_VD = embeddings_VD / np.maximum(lengths, 1e-8)
        self._encode = encode

    def __call__(self, sentences: Sequence[str]) -> Vectors:
        """[S, D]: unit vectors, or 0 for a sentence without tokens."""
        tokens = [list(self._encode(" " + one)) for one in sentences]
        counts = Counter(token for some in tokens for token in some)
        total = sum(counts.values())
        means_SD = np.zeros((len(sentences), self._embeddings_VD.shape[1]), dtype=np.float32)
        for number, some in enumerate(tokens):
            if some:
                weights = np.asarray([RARE / (RARE + counts[token] / total) for token in some], dtype=np.float32)
                means_SD[number] = weights @ self._embeddings_VD[some] / len(some)
        if len(sentences) > 2:
            common_D = np.linalg.svd(means_SD, full_matrices=False)[2][0]
            means_SD -= np.outer(means_SD @ common_D, common_D)
        lengths_S1 = np.maximum(np.linalg.norm(means_SD, axis=1, keepdims=True), 1e-8)
        vectors_SD: Vectors = (means_SD / lengths_S1).astype(np.float32)
        return vectors_SD


def load_sentence_vectors(model: Path, encoder: ChatEncoder) -> SentenceVectors:
    """Load the embeddings of a model's folder. Raises MendableError if it has none with the usual name."""
    check_folder(model)
    return SentenceVectors(_embeddings(model), lambda text: encoder.tokenizer.encode(text, add_special_tokens=False))


def _embeddings(model: Path) -> Any:
    from safetensors import safe_open

    for path in sorted(model.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                if name.endswith("embed_tokens.weight"):
                    return file.get_tensor(name).float().numpy()
    raise MendableError(
        f"The model in {model} has no token embeddings by the name of embed_tokens: leave out rewards that need embeddings, such as paraphrase."
    )
