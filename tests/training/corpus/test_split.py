"""The split: no author, anthology or copy is on both sides, for any stories."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.common.errors import MendableError
from training.corpus.split import Links, author_key, author_names, split

NAMES = st.sampled_from(
    ["", "Anonymous", "Ann Lee", "Lee, Ann", "Bo", "Bo & Cy", "Cy", "Di Ed", "DI ED", "Fé", "Fe\u0301", "Gil", "Hal"]
)
LINKS = st.builds(
    Links, NAMES, st.sampled_from(["", "", "One", "ONE", "Two", "Three", "Four", "Five"]), st.sampled_from("xy")
)


def people(links: Links) -> set[str]:
    return {author_key(name) for name in author_names(links.author)}


@settings(max_examples=300, deadline=None, database=None)
@given(
    st.lists(LINKS, max_size=40), st.floats(0, 0.9), st.integers(0, 5), st.lists(st.tuples(LINKS, LINKS), max_size=4)
)
def test_nothing_is_on_both_sides(
    stories: list[Links], share: float, seed: int, also: list[tuple[Links, Links]]
) -> None:
    sides = split(stories, share=share, seed=seed, also=also)
    for (first, one), (second, other) in itertools.combinations(zip(stories, sides), 2):
        together = people(first) & people(second) or (
            first.anthology and first.anthology.lower() == second.anthology.lower()
        )
        unknown = not (people(first) or people(second) or first.anthology or second.anthology)
        if together or (unknown and first.folder == second.folder):
            assert one == other
    for first, second in also:
        touching = [
            side
            for one_story, side in zip(stories, sides)
            if people(one_story) & (people(first) | people(second))
            or (
                one_story.anthology
                and one_story.anthology.lower() in (first.anthology.lower(), second.anthology.lower())
            )
        ]
        assert len(set(touching)) <= 1
    assert not all(sides) or not sides
    assert sides == split(stories, share=share, seed=seed, also=also)


@settings(max_examples=200, deadline=None, database=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=9), st.floats(0.01, 0.5), st.integers(0, 3))
def test_the_share_is_reached_as_close_as_whole_authors_allow(sizes: list[int], share: float, seed: int) -> None:
    stories = [Links(f"Author {chr(65 + number)}", "", "") for number, size in enumerate(sizes) for _ in range(size)]
    held_out = sum(split(stories, share=share, seed=seed))
    target = max(1, round(share * sum(sizes)))
    sums = {sum(some) for count in range(1, len(sizes)) for some in itertools.combinations(sizes, count)}
    assert abs(held_out - target) == min(abs(number - target) for number in sums)


def test_another_seed_draws_other_authors() -> None:
    stories = [Links(f"Author {number}", "", "") for number in range(100)]
    drawn = {tuple(split(stories, share=0.05, seed=seed)) for seed in range(5)}
    assert len(drawn) == 5
    assert {sum(sides) for sides in drawn} == {5}


def test_named_authors_are_held_out_with_all_linked_stories() -> None:
    stories = [
        Links("Doyle, Arthur Conan", "One", ""),
        Links("Bo", "One", ""),
        Links("Bo", "Two", ""),
        Links("Cy", "Three", ""),
    ]
    assert split(stories, share=0.05, authors=["Sir Arthur Conan Doyle"]) == [True, True, True, False]
    with pytest.raises(MendableError, match="No story of the corpus is by Nobody"):
        split(stories, share=0.05, authors=["Nobody"])
    with pytest.raises(MendableError, match="leaves no story to train on"):
        split(stories[:3], share=0.05, authors=["Bo"])


@pytest.mark.parametrize(
    ("author", "names"),
    [
        ("Poe, Edgar Allan, 1809-1849", ["Edgar Allan Poe"]),
        ("Martin Luther King, Jr.", ["Martin Luther King"]),
        ("Louise Maude; Aylmer Maude", ["Louise Maude", "Aylmer Maude"]),
        ("Various", []),
        ("佚名", []),
        ("鲁迅", ["鲁迅"]),
        ("Alexander Anderson", ["Alexander Anderson"]),
    ],
)
def test_names(author: str, names: list[str]) -> None:
    assert author_names(author) == names


def test_spellings_of_a_name() -> None:
    assert author_key("E.W. Hornung") == author_key("E. W. HORNUNG")
    assert author_key("Sir Arthur Conan Doyle") == author_key("Arthur Conan Doyle")
    assert author_key("Čapek") == author_key("Capek")
