"""Mixing pairs: counts worked out by hand, and properties of all allocations."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from training.constitution.mix import PairFacts, allocate, mix


def some(source: str, count: int, *principles: str, words: int = 50, start: int = 0) -> list[PairFacts]:
    return [PairFacts(source, principles, words, f"{source}-{principles}-{words}-{start + n}") for n in range(count)]


def counted(facts: list[PairFacts], taken: list[int]) -> Counter[str]:
    return Counter(facts[number].source for number in taken)


def test_sources_get_shares_by_weight() -> None:
    """40 pairs in shares of 1 to 3."""
    facts = some("votes", 100) + some("violations", 100)
    assert counted(facts, mix(facts, {"votes": 1, "violations": 3}, rows=40)) == {"votes": 10, "violations": 30}


def test_other_sources_fill_a_missing_share() -> None:
    facts = some("votes", 4) + some("mended", 100) + some("violations", 100)
    weights = {"votes": 1, "mended": 1, "violations": 2}
    assert counted(facts, mix(facts, weights, rows=100)) == {"votes": 4, "mended": 32, "violations": 64}
    assert counted(facts, mix(facts, weights, rows=100, max_repeats=3)) == {"votes": 12, "mended": 29, "violations": 59}


def test_without_a_number_of_rows_all_pairs_are_taken() -> None:
    facts = some("votes", 7) + some("violations", 20)
    assert sorted(mix(facts, {"votes": 1, "violations": 1})) == list(range(27))
    assert counted(facts, mix(facts, {"votes": 0, "violations": 1})) == {"violations": 20}
    assert counted(facts, mix(facts, {"violations": 1})) == {"violations": 20}


def test_principles_and_lengths_are_balanced() -> None:
    """Of 60 pairs 20 for each principle; for a principle with two length classes half of each, as far as there are pairs."""
    facts = [
        *some("violations", 100, "a"),
        *some("violations", 100, "b", words=50),
        *some("violations", 100, "b", words=500),
        *some("violations", 100, "c", words=50),
        *some("violations", 3, "c", words=5000),
    ]
    taken = Counter(
        (facts[number].principles[0], facts[number].words) for number in mix(facts, {"violations": 1}, rows=60)
    )
    assert taken == {("a", 50): 20, ("b", 50): 10, ("b", 500): 10, ("c", 50): 17, ("c", 5000): 3}


def test_a_pair_with_several_principles_counts_for_the_rarest() -> None:
    facts = [*some("votes", 50, "often"), *some("votes", 10, "often", "rare")]
    taken = [facts[number].principles for number in mix(facts, {"votes": 1}, rows=20)]
    assert taken.count(("often", "rare")) == 10


def test_the_order_of_the_files_has_no_effect() -> None:
    facts = some("votes", 30, "a") + some("violations", 50, "b", words=400)
    again = facts[::-1]
    weights = {"votes": 2, "violations": 1}
    one = [facts[number] for number in mix(facts, weights, rows=25)]
    assert one == [again[number] for number in mix(again, weights, rows=25)]
    assert one != [facts[number] for number in mix(facts, weights, rows=25, seed=2)]


@given(
    st.integers(0, 500),
    st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.floats(0.01, 100), st.integers(0, 200)), min_size=1),
)
def test_shares_add_up(total: int, of: dict[str, tuple[float, int]]) -> None:
    weights, caps = {key: weight for key, (weight, _) in of.items()}, {key: cap for key, (_, cap) in of.items()}
    found = allocate(total, weights, caps)
    assert sum(found.values()) == min(total, sum(caps.values()))
    assert all(0 <= found[key] <= caps[key] for key in of)
    for one in of:
        for other in of:
            if found[other] < caps[other]:  # one below its cap has as much for its weight as any other
                assert found[one] / weights[one] <= (found[other] + 1) / weights[other] * (1 + 1e-9) + 1 / weights[one]
