"""An interpolated Kneser-Ney n-gram model over the tokens of a neural model's vocabulary: the yardstick of the demo model.

Both models read the same tokens of the same text, and tokens are made of bytes, so nothing is unknown to either and the
total of nats over a text, divided by its words, compares them fairly.

With c the count of an n-gram at the highest order and the number of its distinct left neighbours below (its continuation
count), h a context, h' the context without its first token, and D one discount per order (n1 / (n1 + 2 n2)):

    p(w | h) = max(c(h w) - D, 0) / c(h) + D * types(h) / c(h) * p(w | h')        and 1 / vocabulary below one token

as in Chen and Goodman, "An empirical study of smoothing techniques for language modeling" (1998), equation 22 interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Order:
    """The n-grams of one length. A key is (number of the n-gram's first n-1 tokens) * vocabulary + its last token."""

    keys: Ints
    counts: Ints
    discount: float
    context_counts: Ints
    context_types: Ints


class KneserNey:
    """Counts `texts` (sequences of tokens) up to `order`; `start` is a token that no text holds, and pads their beginnings."""

    def __init__(self, texts: Sequence[Sequence[int]], *, vocabulary: int, start: int, order: int = 5) -> None:
        self.vocabulary, self.start, self.order = vocabulary, start, order
        stream, real = self._padded(texts)
        numbers = [np.zeros(len(stream) + 1, dtype=np.int64)]  # of the 0-gram: one, everywhere
        found = []
        for _ in range(order):
            keys = self._keys(numbers[-1], stream)
            unique, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
            found.append((unique, first, inverse, np.bincount(inverse[real], minlength=len(unique))))
            numbers.append(np.concatenate([[0], inverse]))
        self.orders: list[_Order] = []
        for length, (keys, _, inverse, raw) in enumerate(found, start=1):
            counts = raw
            if length < order:  # each distinct longer n-gram is one left neighbour of its tail
                _, longer_first, _, longer_counts = found[length]
                counts = np.bincount(inverse[longer_first[longer_counts > 0]], minlength=len(keys))
            contexts = keys // vocabulary
            size = len(found[length - 2][0]) if length > 1 else 1
            once, twice = int((counts == 1).sum()), int((counts == 2).sum())
            self.orders.append(
                _Order(
                    keys,
                    counts,
                    once / (once + 2 * twice) if once and twice else 0.5,
                    np.bincount(contexts, weights=counts, minlength=size).astype(np.int64),
                    np.bincount(contexts[counts > 0], minlength=size),
                )
            )

    def _padded(self, texts: Sequence[Sequence[int]]) -> tuple[Ints, npt.NDArray[np.bool_]]:
        pads = [self.start] * self.order
        stream = np.array([token for text in texts for token in (*pads, *text)], dtype=np.int64)
        real = np.array([mark for text in texts for mark in (*[False] * self.order, *[True] * len(text))], dtype=bool)
        return stream, real

    def _keys(self, context_numbers: Ints, stream: Ints) -> Ints:
        """The key of the n-gram that ends at each place; `context_numbers[i]` is that of the context that ends before i."""
        return np.where(context_numbers[:-1] < 0, -1, context_numbers[:-1] * self.vocabulary + stream)

    def probabilities(self, text: Sequence[int]) -> Floats:
        """p(token | the tokens before it in the same text), for each token of `text`."""
        stream, real = self._padded([text])
        numbers = np.zeros(len(stream) + 1, dtype=np.int64)
        p = np.full(len(stream), 1.0 / self.vocabulary)
        for order in self.orders:
            contexts = numbers[:-1]
            keys = self._keys(numbers, stream)
            place = np.minimum(np.searchsorted(order.keys, keys), len(order.keys) - 1)
            known = (order.keys[place] == keys) & (keys >= 0)
            count = np.where(known, order.counts[place], 0)
            seen = np.where(contexts >= 0, order.context_counts[contexts], 0)
            types = np.where(contexts >= 0, order.context_types[contexts], 0)
            scale = np.maximum(seen, 1)
            own = np.maximum(count - order.discount, 0) / scale
            p = np.where(seen > 0, own + order.discount * types / scale * p, p)
            numbers = np.concatenate([[0], np.where(known, place, -1)])
        return p[real]
