"""Splitting stories into train and held out, by whole authors and whole anthologies.

Authors and anthologies are the nodes of a graph. Each story links its author or authors with its anthology, and a duplicate is
linked with its original. A connected component is on one side, so that no author, anthology or copy is on both.
"""

from __future__ import annotations

import random
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import regex

from training.common.errors import MendableError

_UNKNOWN = {
    *(
        "",
        "anonymous",
        "anon",
        "unknown",
        "various",
        "various authors",
        "author unknown",
        "unknown author",
        "none",
        "na",
        "n a",
        "null",
    ),
    *("佚名", "无名氏", "無名氏"),
}
_SUFFIX = regex.compile(r"(?:jr|sr|ii|iii|iv|esq|phd|ph d|md|m d|fils|père|ed|editor)\.?", regex.IGNORECASE)
_DATES = regex.compile(r"(?:[bcd]a?\.? ?)?\d{3,4}\??(?: ?[-–] ?(?:[bcd]a?\.? ?)?(?:\d{3,4})?\??)?")
_TITLES = {"sir", "dr", "mr", "mrs", "miss", "ms", "rev", "prof"}


class Links(NamedTuple):
    """What links a story to others. `folder` is used if neither author nor anthology is known."""

    author: str
    anthology: str
    folder: str


def author_names(author: str) -> list[str]:
    """The names in an author's line, first names first; none for "Anonymous" and the like.

    >>> author_names("Doyle, Arthur Conan"), author_names("C. L. Moore & Henry Kuttner"), author_names("Anonymous")
    (['Arthur Conan Doyle'], ['C. L. Moore', 'Henry Kuttner'], [])
    """
    names = []
    for name in regex.split(r"\s*(?:;|&|\band\b|\bwith\b|／|、)\s*", " ".join(author.split())):
        parts = [part.strip() for part in name.split(",")]
        parts = [part for part in parts if part and not _SUFFIX.fullmatch(part) and not _DATES.fullmatch(part)]
        name = " ".join([*parts[1:2], parts[0], *parts[2:]]) if parts else ""
        if author_key(name) not in _UNKNOWN:
            names.append(name)
    return names


def author_key(name: str) -> str:
    """The form of a name for comparison: lower case, without accents, dots and titles."""
    plain = regex.sub(r"\p{Mn}", "", unicodedata.normalize("NFD", name.casefold()))
    words = regex.sub(r"[^\p{L}\p{N}]+", " ", plain).split()
    while len(words) > 1 and words[0] in _TITLES:
        words = words[1:]
    return " ".join(words)


class _Components:
    """Connected components of a graph, by union-find."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def root(self, node: str) -> str:
        self._above.setdefault(node, node)
        while (above := self._above[node]) != node:
            self._above[node] = self._above[above]
            node = above
        return node

    def join(self, first: str, second: str) -> None:
        first, second = sorted((self.root(first), self.root(second)))
        self._above[second] = first


def _nodes(links: Links) -> list[str]:
    nodes = [f"author {author_key(name)}" for name in author_names(links.author)]
    if anthology := author_key(links.anthology):
        nodes.append(f"anthology {anthology}")
    return nodes or [f"folder {links.folder}"]


def split(
    stories: Sequence[Links],
    *,
    share: float,
    authors: Iterable[str] = (),
    seed: int = 1,
    also: Iterable[tuple[Links, Links]] = (),
) -> list[bool]:
    """Return for each story whether it is held out. `also` links stories that are not in the list, such as rejected duplicates.

    With `authors`, exactly their components are held out. Otherwise components are drawn by `seed`, at least one, so that the share of
    their stories is as close to `share` as whole components allow. If there is only one component, nothing is held out.
    Raises MendableError for an unknown author, or if no story is left to train on.
    """
    components = _Components()
    for nodes in (*map(_nodes, stories), *(_nodes(first) + _nodes(second) for first, second in also)):
        for node in nodes:
            components.join(nodes[0], node)
    roots = [components.root(_nodes(one)[0]) for one in stories]
    members: dict[str, int] = defaultdict(int)
    for root in roots:
        members[root] += 1
    if named := list(authors):
        chosen = _of_authors(named, components, roots, stories)
    else:
        chosen = _drawn(sorted(members.items()), share, seed)
    return [root in chosen for root in roots]


def _of_authors(
    named: Sequence[str], components: _Components, roots: Sequence[str], stories: Sequence[Links]
) -> set[str]:
    known = {author_key(name) for one in stories for name in author_names(one.author)}
    unknown = [name for name in named if not {author_key(one) for one in author_names(name)} & known]
    if unknown:
        raise MendableError(f"No story of the corpus is by {', '.join(unknown)} (held_out_authors).")
    chosen = {components.root(f"author {author_key(one)}") for name in named for one in author_names(name)}
    if chosen >= set(roots):
        raise MendableError("held_out_authors leaves no story to train on: all other stories are in their anthologies.")
    return chosen


def _drawn(members: Sequence[tuple[str, int]], share: float, seed: int) -> set[str]:
    """A random subset of components whose number of stories is as close to the share as possible (a subset-sum by bit sets)."""
    if share <= 0 or len(members) < 2:
        return set()
    order = list(members)
    random.Random(seed).shuffle(order)
    total = sum(count for _, count in members)
    target = max(1, round(share * total))
    room = min(total - 1, max(2 * target, min(count for _, count in members)))
    mask = (1 << (room + 1)) - 1
    reached = [1]  # bit n: some subset of the components so far has n stories
    for _, count in order:
        reached.append((reached[-1] | reached[-1] << count) & mask)
    sums = [number for number in range(1, room + 1) if reached[-1] >> number & 1]
    rest = min(sums, key=lambda number: (abs(number - target), number))
    chosen: set[str] = set()
    for place in range(len(order), 0, -1):
        root, count = order[place - 1]
        if not reached[place - 1] >> rest & 1:
            chosen.add(root)
            rest -= count
    return chosen
