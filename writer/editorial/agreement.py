"""The agreement of editors, and a test for careless ones.

Agreement is Krippendorff's alpha: 1 is perfect, 0 is what chance gives, below 0 is worse than chance. Any number of raters
may judge a unit, and not everyone must judge each. Klaus Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011):

    alpha = 1 - D_o / D_e = 1 - (n - 1) * sum over units of [sum of d(a, b)² over its ordered pairs of values / (m - 1)]
                                / [sum of d(a, b)² over all ordered pairs of values]

with m the number of values of the unit, n that of all units with at least two, and d(a, b)² the difference of two values:
0 or 1 (nominal), (a - b)² (interval), or (a' - b')² with a' the midrank of a among the n values (ordinal; this equals
the paper's sum over the values between a and b). The contribution of a unit depends only on how many raters gave each value,
so units are counted by kind: a database can group them, and a bootstrap draws kinds instead of units.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, assert_never

import numpy as np
import numpy.typing as npt

Value = float | str
Level = Literal["nominal", "ordinal", "interval"]
Editor = TypeVar("Editor", bound=Hashable)
Vote = tuple[Hashable, Editor, int]  # a unit, who judged it, and -2 (the first is clearly better) to 2, with 0 a tie
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

FEWEST_UNITS = 10  # resamples of fewer units are too similar by chance, and the interval would be too narrow
# With a careless colleague, one careful editor in eight would be called careless at 30, and one in twenty at 40.
FEWEST_TELLING = 40
LEVEL = 0.05  # one in twenty of those who vote at random is not found
_LEAST_TRUST = 0.01  # above zero, so that an editor with only untrusted colleagues is still compared with them


def alpha(units: Iterable[Sequence[Value]], level: Level) -> float | None:
    """Alpha over `units`, each the values that one unit got, in any order; None and errors as `alpha_from_counts`, and
    ValueError for words unless `level` is nominal, since their order is unknown here.
    """
    return alpha_from_counts(*_by_kind(units, level), level)


def alpha_from_counts(values: Sequence[Value], counts: Mapping[tuple[int, ...], int], level: Level) -> float | None:
    """Alpha from kinds of unit: how many raters gave each of `values`, and how many such units there are.

    `values` are distinct, and in order if `level` is ordinal. Marks of a principle are such counts: a unit is a paragraph,
    the values are "not marked" and "marked", and 7 paragraphs that one of their three readers marked are `{(2, 1): 7}`.

    None if no unit has two values, or if all comparable values are the same: chance would give the same agreement, so it is
    unknown whether the raters can distinguish units. ValueError if a value is NaN or infinite (leave a missing value out of its
    unit), or a word on the interval level, or if a kind does not have one count for each value.

    >>> round(alpha_from_counts((0, 1), {(3, 0): 90, (0, 3): 5, (2, 1): 5}, "nominal"), 3)
    0.733
    """
    scale, kinds, units = _table(values, counts, level)
    found = _alphas(scale, kinds, units[None, :], level)[0]
    return None if np.isnan(found) else float(found)


def alpha_interval_from_counts(
    values: Sequence[Value], counts: Mapping[tuple[int, ...], int], level: Level, *, samples: int = 500, seed: int = 0
) -> tuple[float, float] | None:
    """The 95 % percentile interval of `alpha_from_counts` from `samples` bootstraps over units (Efron, 1979).

    Samples without variation have no alpha and are left out. None where alpha is None, and with fewer than `FEWEST_UNITS`
    units of at least two values. It takes samples * kinds numbers of memory: `values` should be a scale, not a measurement.
    """
    scale, kinds, units = _table(values, counts, level)
    total = int(units.sum())
    if total < FEWEST_UNITS:
        return None
    drawn = np.random.default_rng(seed).multinomial(total, units / total, size=samples).astype(np.float64)
    found = _alphas(scale, kinds, drawn, level)
    found = found[~np.isnan(found)]
    if not len(found):
        return None
    low, high = np.percentile(found, (2.5, 97.5))
    return float(low), float(high)


def _by_kind(units: Iterable[Sequence[Value]], level: Level) -> tuple[list[Value], Counter[tuple[int, ...]]]:
    """The distinct values in order, and the number of units of each kind."""
    sequences = Counter(map(tuple, units))
    used = {value for sequence in sequences for value in sequence}
    if level != "nominal" and any(isinstance(value, str) for value in used):
        raise ValueError(f"Words have no {level} scale here; alpha_from_counts takes their order.")
    # The nominal level needs no order, but it makes the bootstrap independent of the order of the units.
    values = sorted(used, key=lambda value: (isinstance(value, str), value))
    counts: Counter[tuple[int, ...]] = Counter()
    for sequence, alike in sequences.items():
        given = Counter(sequence)
        counts[tuple(given[value] for value in values)] += alike
    return values, counts


def _table(values: Sequence[Value], counts: Mapping[tuple[int, ...], int], level: Level) -> tuple[Floats, ...]:
    """The values (V) on the interval level and, for the kinds of unit with at least two raters, the raters by kind and value
    (K, V), and the units by kind (K).
    """
    if any(len(kind) != len(values) for kind in counts):
        raise ValueError(f"Each kind of unit needs {len(values)} counts, one for each value.")
    numbers = [value for value in values if not isinstance(value, str)]
    if not all(map(math.isfinite, numbers)):
        raise ValueError("A value is not finite; leave a missing value out of its unit.")
    if level == "interval" and len(numbers) < len(values):
        raise ValueError("Words have no interval scale.")
    scale = np.array(numbers, dtype=np.float64)
    scale -= scale.sum() / max(len(scale), 1)  # squares of large numbers would lose small differences
    kinds = sorted(kind for kind, units in counts.items() if units and sum(kind) > 1)
    units = np.array([counts[kind] for kind in kinds], dtype=np.float64)
    return scale, np.array(kinds, dtype=np.float64).reshape(len(kinds), len(values)), units


def _alphas(scale: Floats, kinds: Floats, drawn: Floats, level: Level) -> Floats:
    """The alphas (S) of samples with these numbers of units of each kind (S, K); NaN if a sample has no variation.

    The sum of (a - b)² over the ordered pairs of m numbers is 2 (m * sum of a² - (sum of a)²), without a table of pairs.
    """
    raters = kinds.sum(axis=1)  # (K)
    totals = drawn @ kinds  # (S, V)
    n = totals.sum(axis=1)  # (S)
    match level:
        case "nominal":
            observed = drawn @ ((raters**2 - (kinds**2).sum(axis=1)) / (raters - 1))
            expected = n**2 - (totals**2).sum(axis=1)
        case "ordinal" | "interval":
            place = scale[None, :]
            if level == "ordinal":  # the midranks of each sample, counted from the middle
                place = np.cumsum(totals, axis=1) - totals / 2 - n[:, None] / 2
            spread = raters * (place**2 @ kinds.T) - (place @ kinds.T) ** 2  # (1 or S, K)
            observed = 2 * (drawn * spread / (raters - 1)).sum(axis=1)
            expected = 2 * (n * (totals * place**2).sum(axis=1) - (totals * place).sum(axis=1) ** 2)
        case _:
            assert_never(level)
    found = np.full(len(n), np.nan)
    varied = np.count_nonzero(totals, axis=1) > 1
    found[varied] = 1 - (n[varied] - 1) * observed[varied] / expected[varied]
    return found


@dataclass(frozen=True, slots=True)
class EditorAgreement:
    """The comparison of one editor with the others. It is impossible where these always vote the same, so:

    shared      units that this editor and at least one other judged
    telling     those of them on which the mean of the others' votes is not its most frequent value
    agreement   correlation of this editor's votes with the others' on the shared units, -1 to 1; 0 for chance, and for an
                editor who always votes the same; None if the others do not differ
    p           the probability of this agreement if the votes were independent of the others'; None as above
    careless    this cannot be ruled out (p > LEVEL) although there are FEWEST_TELLING telling units
    """

    shared: int
    telling: int
    agreement: float | None
    p: float | None
    careless: bool


def editors_agreement(votes: Iterable[Vote[Editor]]) -> dict[Editor, EditorAgreement]:
    """Each editor against the others who judged the same units. ValueError if someone votes twice on a unit.

    It is a permutation test: if an editor's n votes are independent of their units, each order of them is equally likely, and
    over all orders the correlation with fixed scores has mean 0 and variance 1 / (n - 1) (Pitman, 1937). For the n from which
    anyone is called careless it is close enough to normal, so that no permutations are drawn.

    The score of a unit is the sum of the others' votes. Each is centred on its editor's mean, so that an editor who always chooses
    one side adds nothing, and weighted by the editor's agreement with the rest, so that a careless editor does not affect the tests
    of others. The weights are computed without the tested votes, since they would otherwise favour editors who happen to be similar.
    If most editors are careless, or one of two, the test cannot tell which.
    """
    rows = list(votes)
    if len({(unit, editor) for unit, editor, _ in rows}) < len(rows):
        raise ValueError("An editor has two votes on one unit.")
    units: dict[Hashable, int] = {}
    editors: dict[Editor, int] = {}
    unit = np.array([units.setdefault(unit, len(units)) for unit, _, _ in rows], dtype=np.int64)
    editor = np.array([editors.setdefault(editor, len(editors)) for _, editor, _ in rows], dtype=np.int64)
    vote = np.array([vote for _, _, vote in rows], dtype=np.float64)
    others = np.bincount(unit)[unit] - 1
    means = (np.bincount(unit, vote)[unit] - vote) / np.maximum(others, 1)

    found = {}
    for one, number in editors.items():
        rest, trust = editor != number, np.ones(len(editors))
        for _ in range(2):  # the second round uses the weights of the first; more rounds change little
            trust = np.fmax(_correlations(unit[rest], editor[rest], vote[rest], trust), _LEAST_TRUST)
        agreement = _correlations(unit, editor, vote, trust)[number]
        mine = ~rest & (others > 0)
        shared = int(mine.sum())
        telling = shared - max(Counter(means[mine].tolist()).values(), default=0)
        if np.isnan(agreement):
            found[one] = EditorAgreement(shared, telling, None, None, careless=False)
            continue
        # An editor who always votes the same has the same agreement in all orders.
        p = 0.5 * math.erfc(agreement * math.sqrt((shared - 1) / 2)) if np.ptp(vote[mine]) else 1.0
        found[one] = EditorAgreement(shared, telling, float(agreement), p, p > LEVEL and telling >= FEWEST_TELLING)
    return found


def _correlations(unit: Ints, editor: Ints, vote: Floats, trust: Floats) -> Floats:
    """The correlation of each editor's votes with the others' (E), from votes (N) and the weights of their editors (E).

    0 for an editor who always votes the same; NaN for one without others, or if the others do not differ.
    """

    def sums(of: Ints, values: Floats) -> Floats:
        return np.asarray(np.bincount(of, values, minlength=len(trust)), dtype=np.float64)

    def centred(of: Ints, values: Floats) -> Floats:
        means: Floats = sums(of, values) / np.maximum(np.bincount(of, minlength=len(trust)), 1)
        return np.asarray(values - means[of], dtype=np.float64)

    weighted = trust[editor] * centred(editor, vote)
    shared = np.bincount(unit)[unit] > 1
    of = editor[shared]
    x, y = centred(of, vote[shared]), centred(of, (np.bincount(unit, weighted)[unit] - weighted)[shared])
    xx, yy, xy = sums(of, x * x), sums(of, y * y), sums(of, x * y)
    found = np.where(yy > 1e-9, 0.0, np.nan)  # rounding errors of equal numbers are far smaller
    np.divide(xy, np.sqrt(xx * yy), out=found, where=(xx > 1e-9) & (yy > 1e-9))
    return np.asarray(np.clip(found, -1, 1), dtype=np.float64)
