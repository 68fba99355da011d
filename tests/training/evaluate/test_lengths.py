from __future__ import annotations

import pytest

from training.evaluate.lengths import BUCKETS, buckets_for, slope, table, targets


def test_the_buckets_are_those_of_polaris_where_they_fit() -> None:
    assert buckets_for(32_768) == BUCKETS
    assert buckets_for(10_000) == BUCKETS[:4]


def test_a_small_context_has_six_of_its_own() -> None:
    found = buckets_for(2048)
    assert len(found) == 6
    assert found[0][0] == 200
    assert all(low < high for low, high in found)
    assert found[-1][1] * 1.5 + 400 <= 2048 + 20


def test_targets_lie_in_their_buckets() -> None:
    for context in (2048, 32_768):
        buckets = buckets_for(context)
        asked = targets(buckets, 5)
        assert len(asked) == 5 * len(buckets)
        assert all(
            low <= words <= high for (low, high), five in zip(buckets, zip(*[iter(asked)] * 5)) for words in five
        )


def test_the_table_of_an_example() -> None:
    rows = table([(0, 100), (100, 200)], [50, 50, 150, 200], [25, 50, 150, 100], [False, True, False, False])
    assert [(row.stories, row.ratio, row.cut) for row in rows] == [(2, 0.75, 1), (2, 0.75, 0)]
    assert rows[0].error == pytest.approx(0.6931 / 2, abs=1e-3)
    assert table([(0, 100)], [], [], [])[0].ratio is None


def test_the_slope_of_polaris_own_table() -> None:
    """POLARIS reports -3.0 from six buckets; of a straight line it is the step."""
    assert slope([60.0, 57.0, 54.0, 51.0, 48.0, 45.0]) == -3.0
    assert slope([1.0]) is None
    assert slope([1.0, None, 0.0]) == -0.5
