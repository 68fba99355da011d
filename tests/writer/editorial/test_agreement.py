"""Alpha on the published examples and against its definition; careful and careless editors."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import permutations, product
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest

from writer.editorial.agreement import (
    FEWEST_TELLING,
    FEWEST_UNITS,
    EditorAgreement,
    Level,
    Value,
    Vote,
    _by_kind,
    alpha,
    alpha_from_counts,
    alpha_interval_from_counts,
    editors_agreement,
)

LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval")
Ints = npt.NDArray[np.int64]


def alpha_interval(
    units: Iterable[Sequence[Value]], level: Level, *, samples: int = 500, seed: int = 0
) -> tuple[float, float] | None:
    """Of units as people judged them, as `alpha` takes them."""
    return alpha_interval_from_counts(*_by_kind(units, level), level, samples=samples, seed=seed)


def columns(*raters: str) -> list[list[int]]:
    """The units of a table with one row per rater, as papers print them; a dot is a missing value."""
    return [[int(value) for value in unit if value != "."] for unit in zip(*(rater.split() for rater in raters))]


# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011): sections A, B and C; D and E use C's data.
BINARY = columns("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0")
LETTERS = ["ab", "aa", "bb", "bb", "db", "cc", "cc", "cc", "ee", "dd", "dd", "ad"]
FOUR_OBSERVERS = columns(
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)
# Wikipedia, "Krippendorff's alpha", a computational example.
THREE_CODERS = columns(
    ". . . . . 3 4 1 2 1 1 3 3 . 3",
    "1 . 2 1 3 3 4 3 . . . . . . .",
    ". . 2 1 3 4 4 . 2 1 1 3 3 . 4",
)


def difference(a: int, b: int, level: Level, counts: Counter[int]) -> float:
    """d(a, b)² as the paper writes it."""
    match level:
        case "nominal":
            return float(a != b)
        case "interval":
            return float((a - b) ** 2)
        case "ordinal":
            low, high = min(a, b), max(a, b)
            between = sum(count for value, count in counts.items() if low <= value <= high)
            return (between - (counts[low] + counts[high]) / 2) ** 2


def alpha_by_pairs(units: Sequence[Sequence[int]], level: Level) -> float:
    """1 - D_o / D_e, with each ordered pair of values looked at."""
    units = [unit for unit in units if len(unit) > 1]
    values = [value for unit in units for value in unit]
    counts = Counter(values)
    observed = sum(
        sum(difference(a, b, level, counts) for a, b in permutations(unit, 2)) / (len(unit) - 1) for unit in units
    )
    expected = sum(difference(a, b, level, counts) for a, b in permutations(values, 2)) / (len(values) - 1)
    return 1 - observed / expected


def random_units(seed: int, units: int = 40) -> list[list[int]]:
    """Units of one to five values from 1 to 6, which follow something that the raters see, more or less."""
    rng = np.random.default_rng(seed)
    noise = rng.uniform(0.3, 3)
    return [
        np.clip(np.rint(rng.normal(rng.uniform(1, 6), noise, rng.integers(1, 6))), 1, 6).astype(int).tolist()
        for _ in range(units)
    ]


class TestAlpha:
    @pytest.mark.parametrize(
        ("units", "level", "published"),
        [
            (BINARY, "nominal", 0.095),
            (LETTERS, "nominal", 0.692),
            (FOUR_OBSERVERS, "nominal", 0.743),
            (FOUR_OBSERVERS, "ordinal", 0.815),
            (FOUR_OBSERVERS, "interval", 0.849),
            (THREE_CODERS, "nominal", 0.691),
            (THREE_CODERS, "interval", 0.811),
        ],
    )
    def test_published_examples(self, units: Sequence[Sequence[Value]], level: Level, published: float) -> None:
        assert alpha(units, level) == pytest.approx(published, abs=5e-4)

    @pytest.mark.parametrize(("level", "seed"), [*product(LEVELS, range(8))])
    def test_the_definition_pair_by_pair(self, level: Level, seed: int) -> None:
        units = random_units(seed)
        assert alpha(units, level) == pytest.approx(alpha_by_pairs(units, level), abs=1e-12)

    @pytest.mark.parametrize("seed", range(4))
    def test_what_must_not_matter(self, seed: int) -> None:
        units = random_units(seed)
        rng = np.random.default_rng(seed)
        shuffled = [rng.permutation(units[place]).tolist() for place in rng.permutation(len(units))]
        names = dict(zip(range(1, 7), rng.permutation(list("uvwxyz")).tolist()))
        for level in LEVELS:
            assert alpha(shuffled, level) == pytest.approx(alpha(units, level), abs=1e-12)
            assert alpha([*units, [9], []], level) == pytest.approx(alpha(units, level), abs=1e-12), "no pairs in them"
        renamed = [[names[value] for value in unit] for unit in units]
        assert alpha(renamed, "nominal") == pytest.approx(alpha(units, "nominal"))
        stretched = [[value**3 for value in unit] for unit in units]
        assert alpha(stretched, "ordinal") == pytest.approx(alpha(units, "ordinal"))
        moved = [[1e9 - 0.5 * value for value in unit] for unit in units]
        assert alpha(moved, "interval") == pytest.approx(alpha(units, "interval"), abs=1e-9)

    def test_what_must_matter(self) -> None:
        stretched = [[value**3 for value in unit] for unit in FOUR_OBSERVERS]
        assert alpha(stretched, "interval") != pytest.approx(alpha(FOUR_OBSERVERS, "interval"), abs=0.01)
        swapped = [[{1: 5, 5: 1}.get(value, value) for value in unit] for unit in FOUR_OBSERVERS]
        assert alpha(swapped, "ordinal") != pytest.approx(alpha(FOUR_OBSERVERS, "ordinal"), abs=0.01)

    @pytest.mark.parametrize("level", LEVELS)
    def test_its_range(self, level: Level) -> None:
        assert alpha([[1, 1], [2, 2, 2], [4, 4]], level) == pytest.approx(1)
        by_chance = np.random.default_rng(0).integers(1, 6, (20_000, 3)).tolist()
        assert alpha(by_chance, level) == pytest.approx(0, abs=0.02)
        against_each_other = alpha([[1, 5], [5, 1], [1, 5]], level)
        assert against_each_other is not None
        assert against_each_other < -0.5

    @pytest.mark.parametrize("level", LEVELS)
    @pytest.mark.parametrize("units", [[], [[]], [[1], [2], [3]], [[2, 2], [2, 2, 2], [1]], [[0.7] * 5, [0.1], [0.2]]])
    def test_where_it_is_not_defined(self, units: list[list[float]], level: Level) -> None:
        assert alpha(units, level) is None
        assert alpha_interval(units * 20, level) is None

    def test_what_is_refused(self) -> None:
        for level in ("ordinal", "interval"):
            with pytest.raises(ValueError, match="Words"):
                alpha([["low", "high"], ["low", "low"]], level)
        for level in LEVELS:
            with pytest.raises(ValueError, match="finite"):
                alpha([[1.0, float("nan")], [2.0, 2.0]], level)
        with pytest.raises(ValueError, match="Words"):
            alpha_from_counts(("low", "high"), {(1, 1): 3}, "interval")
        with pytest.raises(ValueError, match="needs 2 counts"):
            alpha_from_counts((0, 1), {(1, 1, 1): 3}, "nominal")

    def test_counts_say_the_same_as_units(self) -> None:
        values = (1, 2, 3, 4, 5)
        counts = Counter(tuple(unit.count(value) for value in values) for unit in FOUR_OBSERVERS)
        for level in LEVELS:
            assert alpha_from_counts(values, counts, level) == pytest.approx(alpha(FOUR_OBSERVERS, level))
        words = ("never", "seldom", "at times", "often", "always")
        assert alpha_from_counts(words, counts, "ordinal") == pytest.approx(alpha(FOUR_OBSERVERS, "ordinal"))

    def test_marks_of_a_principle(self) -> None:
        """Two readers of 100 paragraphs mark 10 each, of which 8 are the same: Scott's pi, and alpha's correction for n."""
        observed, chance = 0.96, 0.9**2 + 0.1**2
        pi = (observed - chance) / (1 - chance)
        counts: dict[tuple[int, ...], int] = {(2, 0): 88, (0, 2): 8, (1, 1): 4}
        assert alpha_from_counts((0, 1), counts, "nominal") == pytest.approx(pi + (1 - pi) / 200)

    @pytest.mark.parametrize("level", LEVELS)
    def test_a_hundred_thousand_votes(self, level: Level) -> None:
        units = np.random.default_rng(1).integers(-2, 3, (33_000, 3)).tolist()
        start = time.perf_counter()
        alpha(units, level)
        assert time.perf_counter() - start < 0.5
        start = time.perf_counter()
        alpha_interval(units, level)
        assert time.perf_counter() - start < 1


class TestInterval:
    @pytest.mark.parametrize("level", LEVELS)
    def test_the_same_as_drawing_units_one_by_one(self, level: Level) -> None:
        units = random_units(3, units=60)
        rng = np.random.default_rng(0)
        drawn = [alpha([units[place] for place in rng.integers(0, 60, 60)], level) for _ in range(3000)]
        low, high = np.percentile([found for found in drawn if found is not None], (2.5, 97.5))
        assert alpha_interval(units, level, samples=20_000) == pytest.approx((low, high), abs=0.01)

    def test_it_holds_the_truth_in_about_95_of_100_cases(self) -> None:
        def units(count: int) -> list[list[int]]:
            quality = rng.normal(size=(count, 1))
            found: list[list[int]] = np.digitize(quality + rng.normal(size=(count, 3)), (-1.5, -0.5, 0.5, 1.5)).tolist()
            return found

        rng = np.random.default_rng(5)
        truth = alpha(units(200_000), "ordinal")
        assert truth is not None
        held = 0
        for _ in range(200):
            interval = alpha_interval(units(100), "ordinal")
            assert interval is not None
            held += interval[0] <= truth <= interval[1]
        assert 0.89 <= held / 200 <= 0.99

    def test_it_can_be_had_again(self) -> None:
        units = random_units(1)
        for level in LEVELS:
            first = alpha_interval(units, level, seed=7)
            assert alpha_interval(units[::-1], level, seed=7) == pytest.approx(first)
            assert alpha_interval(units, level, seed=8) != first

    def test_few_units_have_none(self) -> None:
        pairs = [[1, 1], [2, 2], [2, 1]]
        assert alpha_interval([*pairs * 3, [1], [2]], "nominal") is None
        assert len(pairs) * 3 + 1 == FEWEST_UNITS
        assert alpha_interval([*pairs * 3, [1, 1]], "nominal") is not None

    def test_from_counts(self) -> None:
        """Of 300 units only four were marked, by both: samples without these have no alpha, and all others have 1."""
        interval = alpha_interval_from_counts((0, 1), {(2, 0): 296, (0, 2): 4}, "nominal")
        assert interval == pytest.approx((1, 1))


Kind = Literal["any value", "one side", "always a tie", "always the same", "the opposite"]


def careful(quality: npt.NDArray[np.float64], rng: np.random.Generator) -> Ints:
    """What an editor votes who sees how much better the second text is, with an error as large as that varies, and more."""
    seen = (quality + rng.normal(0, 1.15, len(quality))) / np.hypot(1, 1.15)
    return np.asarray(np.digitize(seen, (-1.1, -0.3, 0.3, 1.1)) - 2)


def careless(kind: Kind, quality: npt.NDArray[np.float64], rng: np.random.Generator) -> Ints:
    match kind:
        case "any value":
            return rng.integers(-2, 3, len(quality))
        case "one side":
            return np.asarray(rng.choice((-1, 1)) * rng.integers(1, 3, len(quality)))
        case "always a tie":
            return np.zeros(len(quality), dtype=np.int64)
        case "always the same":
            return np.full(len(quality), rng.choice((-2, -1, 1, 2)))
        case "the opposite":
            return -careful(quality, rng)


def team_votes(rng: np.random.Generator, kinds: Sequence[Kind | None], pairs: int, readers: int = 3) -> list[Vote[int]]:
    """The votes of a team with one editor for each of `kinds` (None: a careful one): each pair is read by some of them."""
    quality = rng.normal(size=pairs)
    by_editor = [careless(kind, quality, rng) if kind else careful(quality, rng) for kind in kinds]
    return [
        (pair, int(editor), int(by_editor[editor][pair]))
        for pair in range(pairs)
        for editor in rng.permutation(len(kinds))[:readers]
    ]


def flagged(kinds: Sequence[Kind | None], *, simulations: int = 200) -> tuple[float, float]:
    """The shares of the careless and of the careful who are called careless; each has 60 to 100 votes, or about."""
    rng = np.random.default_rng(11)
    caught: list[bool] = []
    accused: list[bool] = []
    for _ in range(simulations):
        found = editors_agreement(team_votes(rng, kinds, pairs=int(rng.integers(105, 162))))
        for editor, kind in enumerate(kinds):
            (caught if kind else accused).append(found[editor].careless)
    return float(np.mean(caught or [False])), float(np.mean(accused))


class TestEditors:
    def test_the_careful_editors_of_these_tests_are_no_better_than_people(self) -> None:
        """Two of them name the same side in 70 to 75 of 100 pairs on which neither says tie."""
        rng = np.random.default_rng(2)
        quality = rng.normal(size=100_000)
        one, other = careful(quality, rng), careful(quality, rng)
        decided = (one != 0) & (other != 0)
        assert 0.70 < np.mean(np.sign(one[decided]) == np.sign(other[decided])) < 0.75
        assert 0.15 < np.mean(one == 0) < 0.3

    @pytest.mark.parametrize("kind", ["any value", "one side", "always a tie", "always the same", "the opposite"])
    def test_one_careless_among_five_is_found_and_the_others_are_left_alone(self, kind: Kind) -> None:
        caught, accused = flagged([kind, None, None, None, None])
        assert caught >= 0.9
        assert accused <= 0.05

    def test_nobody_careless(self) -> None:
        assert flagged([None] * 5)[1] <= 0.02

    def test_two_careless_among_five_spoil_few_tests_of_the_others(self) -> None:
        """Were everyone trusted alike, a quarter of the careful would be accused."""
        caught, accused = flagged(["any value", "any value", None, None, None])
        assert caught >= 0.9
        assert accused <= 0.15

    def test_one_who_always_presses_one_side_adds_nothing(self) -> None:
        rng = np.random.default_rng(8)
        votes = team_votes(rng, [None, None], pairs=60, readers=2)
        found = editors_agreement([*votes, *((pair, 2, 2) for pair in range(25))])
        assert found[0].agreement == pytest.approx(editors_agreement(votes)[0].agreement)

    def test_what_only_one_editor_judged_tells_nothing(self) -> None:
        votes = team_votes(np.random.default_rng(8), [None, None], pairs=60, readers=2)
        alone = [(pair, 0, pair % 5 - 2) for pair in range(60, 160)]
        assert editors_agreement([*votes, *alone])[0].shared == 60
        assert editors_agreement([*votes, *alone])[0].p == pytest.approx(editors_agreement(votes)[0].p)

    def test_a_careless_editor_between_many_is_found(self) -> None:
        """Ten colleagues share ten pairs each with this one only: whoever happens to agree must not be trusted for that."""
        rng = np.random.default_rng(3)
        caught = 0
        for _ in range(200):
            votes = [(pair, 0, int(rng.integers(-2, 3))) for pair in range(100)]
            theirs = careful(rng.normal(size=100), rng)
            votes += [(pair, 1 + pair // 10, int(theirs[pair])) for pair in range(100)]
            caught += editors_agreement(votes)[0].careless
        assert caught / 200 >= 0.9

    def test_p_is_that_of_permutations(self) -> None:
        rng = np.random.default_rng(4)
        for strength in (0.0, 0.2, 0.5):
            theirs = rng.integers(-2, 3, 50)
            mine = np.where(rng.random(50) < strength, theirs, rng.integers(-2, 3, 50))
            found = editors_agreement(
                [
                    (unit, name, int(vote))
                    for name, votes in (("me", mine), ("you", theirs))
                    for unit, vote in enumerate(votes)
                ]
            )["me"]
            orders = np.array([rng.permutation(mine) for _ in range(20_000)])
            at_least = float(np.mean(orders @ theirs >= mine @ theirs))
            assert found.p == pytest.approx(at_least, abs=0.015)
            assert found.agreement == pytest.approx(np.corrcoef(mine, theirs)[0, 1])

    def test_chance_gives_every_p_alike(self) -> None:
        """Of 400 careless editors, about half have a p below one half, and about a tenth below a tenth."""
        rng = np.random.default_rng(6)
        kinds: list[Kind | None] = ["any value", None, None, None]
        p = [editors_agreement(team_votes(rng, kinds, pairs=80))[0].p or 0.0 for _ in range(400)]
        assert np.mean(np.array(p) < 0.5) == pytest.approx(0.5, abs=0.075)
        assert np.mean(np.array(p) < 0.1) == pytest.approx(0.1, abs=0.045)

    def test_what_is_counted(self) -> None:
        """b and c give 2 and 2, 1 and 1, 0 and 2, and b alone 1: the mean that a meets most often is 1."""
        votes: list[Vote[str]] = [(1, "a", 2), (2, "a", 1), (3, "a", 0), (4, "a", 1), (5, "a", 2), (6, "d", 0)]
        votes += [(1, "b", 2), (2, "b", 1), (3, "b", 0), (4, "b", 1), (1, "c", 2), (2, "c", 1), (3, "c", 2)]
        found = editors_agreement(votes)
        assert list(found) == ["a", "d", "b", "c"]
        assert (found["a"].shared, found["a"].telling) == (4, 1)
        assert found["d"] == EditorAgreement(shared=0, telling=0, agreement=None, p=None, careless=False)
        assert found["c"].shared == 3

    def test_who_always_votes_the_same(self) -> None:
        """As long as the others always say the same as well, nothing is held against anybody."""
        alike = [(unit, editor, 1) for unit in range(200) for editor in ("a", "b", "c")]
        found = editors_agreement(alike)
        assert set(found.values()) == {EditorAgreement(200, 0, None, None, careless=False)}

        def with_different(count: int) -> dict[str, EditorAgreement]:
            return editors_agreement(
                [(unit, editor, 2 if unit < count and editor != "a" else vote) for unit, editor, vote in alike]
            )

        assert not with_different(FEWEST_TELLING - 1)["a"].careless
        assert with_different(FEWEST_TELLING)["a"] == EditorAgreement(200, FEWEST_TELLING, 0.0, 1.0, careless=True)
        assert not with_different(FEWEST_TELLING)["b"].careless

    def test_below_the_fewest_units_nobody_is_flagged(self) -> None:
        rng = np.random.default_rng(9)
        found = editors_agreement(team_votes(rng, ["the opposite", None, None], pairs=FEWEST_TELLING))
        assert found[0].shared == FEWEST_TELLING
        assert found[0].p is not None
        assert found[0].p > 0.5
        assert not any(editor.careless for editor in found.values())

    def test_the_order_and_the_names_do_not_matter(self) -> None:
        rng = np.random.default_rng(10)
        votes = team_votes(rng, ["any value", None, None, None], pairs=60)
        found = editors_agreement(votes)
        shuffled = editors_agreement(
            [(f"u{votes[place][0]}", -votes[place][1], votes[place][2]) for place in rng.permutation(len(votes))]
        )
        for editor, agreement in found.items():
            other = shuffled[-editor]
            assert (other.shared, other.telling, other.careless) == (
                agreement.shared,
                agreement.telling,
                agreement.careless,
            )
            assert (other.agreement, other.p) == pytest.approx((agreement.agreement, agreement.p))

    def test_nobody_and_nobody_twice(self) -> None:
        assert editors_agreement([]) == {}
        with pytest.raises(ValueError, match="two votes"):
            editors_agreement([(1, "a", 2), (1, "b", 2), (1, "a", -2)])

    def test_a_hundred_thousand_votes(self) -> None:
        rng = np.random.default_rng(12)
        votes = team_votes(rng, [None] * 30, pairs=33_000)
        start = time.perf_counter()
        found = editors_agreement(votes)
        assert time.perf_counter() - start < 2
        assert not any(editor.careless for editor in found.values())
