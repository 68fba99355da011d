"""Train and held out, by whole authors and whole anthologies.

Authors and anthologies are the nodes of a graph, each story joins its author (or authors) with its anthology, and duplicates
join what they came from. A connected part of the graph is on one side: no author, no anthology and no copy is on both.
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
_HONOURS = {"sir", "dr", "mr", "mrs", "miss", "ms", "rev", "prof"}


class Tie(NamedTuple):
    """What joins a story to others. `folder` stands in where neither author nor anthology is known."""

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
        said = " ".join([*parts[1:2], parts[0], *parts[2:]]) if parts else ""
        if author_key(said) not in _UNKNOWN:
            names.append(said)
    return names


def author_key(name: str) -> str:
    """What is compared of a name: small letters without accents, dots and honours."""
    plain = regex.sub(r"\p{Mn}", "", unicodedata.normalize("NFD", name.casefold()))
    words = regex.sub(r"[^\p{L}\p{N}]+", " ", plain).split()
    while len(words) > 1 and words[0] in _HONOURS:
        words = words[1:]
    return " ".join(words)


class _Parts:
    """Connected parts, by union and find."""

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


def _nodes(tie: Tie) -> list[str]:
    nodes = [f"author {author_key(name)}" for name in author_names(tie.author)]
    if anthology := author_key(tie.anthology):
        nodes.append(f"anthology {anthology}")
    return nodes or [f"folder {tie.folder}"]


def split(
    stories: Sequence[Tie],
    *,
    share: float,
    authors: Iterable[str] = (),
    seed: int = 1,
    also: Iterable[tuple[Tie, Tie]] = (),
) -> list[bool]:
    """For each story whether it is held out. `also` joins stories that are not in the list: duplicates that were dropped.

    With `authors` exactly their parts are held out; else parts are drawn by `seed` so that their stories come as close to
    `share` of all as whole parts allow, at least one part. With a single part nothing is held out.
    """
    parts = _Parts()
    for nodes in (*map(_nodes, stories), *(_nodes(first) + _nodes(second) for first, second in also)):
        for node in nodes:
            parts.join(nodes[0], node)
    roots = [parts.root(_nodes(tie)[0]) for tie in stories]
    members: dict[str, int] = defaultdict(int)
    for root in roots:
        members[root] += 1
    if named := list(authors):
        chosen = _of_authors(named, parts, roots, stories)
    else:
        chosen = _drawn(sorted(members.items()), share, seed)
    return [root in chosen for root in roots]


def _of_authors(named: Sequence[str], parts: _Parts, roots: Sequence[str], stories: Sequence[Tie]) -> set[str]:
    known = {author_key(name) for tie in stories for name in author_names(tie.author)}
    unknown = [name for name in named if not {author_key(said) for said in author_names(name)} & known]
    if unknown:
        raise MendableError(f"No story of the corpus is by {', '.join(unknown)} (held_out_authors).")
    chosen = {parts.root(f"author {author_key(said)}") for name in named for said in author_names(name)}
    if chosen >= set(roots):
        raise MendableError("held_out_authors leaves no story to train on: their anthologies hold all the others too.")
    return chosen


def _drawn(members: Sequence[tuple[str, int]], share: float, seed: int) -> set[str]:
    """A subset of parts whose stories sum up as close to the share as any subset's, by the sums that can be reached."""
    if share <= 0 or len(members) < 2:
        return set()
    order = list(members)
    random.Random(seed).shuffle(order)
    total = sum(count for _, count in members)
    target = max(1, round(share * total))
    room = min(total - 1, max(2 * target, min(count for _, count in members)))
    mask = (1 << (room + 1)) - 1
    reached = [1]  # bit n: the parts so far have a subset with n stories
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
