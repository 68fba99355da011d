"""Rooms and sensible calls in them. The tool and its arguments are chosen by code from the room itself, never by a model.

Weaver's order: choose the tool, then the situation and the arguments, and infer only then what a user would say (section 3.5).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import regex

from training.common.records import Principle
from training.common.tasks import TASKS
from training.common.text import WORD, count_words, paragraphs, round_words
from training.constitution.texts import GoodText
from training.instruct.data_settings import ToolsSettings
from training.instruct.room import TOOLS, Chapter, Outcome, Reference, Room, ToolError, run
from training.instruct.similar import cut_passages

Kind = Literal["one", "two", "error", "none"]
"""One call; two, the second of which follows from the first; one that fails; none, because no tool is of use."""

MAX_PRINCIPLES = 20
_SPEECH = "said|asked|replied|cried|answered|whispered|exclaimed|murmured|shouted|returned|went|came|looked|stood|sat"
_NAME = r"\p{Lu}\p{Ll}{2,}"
_SPEAKER = regex.compile(rf"\b(?:{_SPEECH})\s+({_NAME})\b|\b({_NAME})\s+(?:{_SPEECH})\b")
_NOT_NAMES = frozenset(["The", "This", "That", "They", "There", "Then", "She", "You", "Who", "What", "Mrs", "Miss", "Sir", "Lord", "Lady", "Doctor", "Father", "Mother", "One", "Nobody", "Somebody", "Everybody", "It", "He", "But", "And"])  # fmt: skip
WOMEN = (
    "Beatrix",
    "Delphine",
    "Fenna",
    "Hester",
    "Jessamy",
    "Marisol",
    "Nerys",
    "Petra",
    "Rosalind",
    "Tamsin",
    "Verity",
)
MEN = ("Alder", "Corwin", "Edmund", "Gideon", "Ivo", "Konrad", "Leander", "Osric", "Quentin", "Silvan", "Ulric")
TOPICS = (
    "how to end a scene without summing it up",
    "what to do about a first chapter that begins with the weather",
    "the difference between showing and telling, and when telling is better",
    "how to make two characters sound different",
    "returning to a story after some weeks away from it",
    "whether a short story needs a villain",
    "past tense or present tense for a story told by a child",
    "how to write a quarrel in which both are right",
    "what an unreliable narrator may conceal",
    "how to cut adverbs without making the prose flat",
    "thanks for the help so far, and what comes next",
    "how much of a dialect to spell out in dialogue",
    "where to place the decisive clue in a mystery",
    "what a title should reveal",
    "how to write about grief without big words",
)


@dataclass(frozen=True)
class Call:
    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class CallResult:
    """A call with its result."""

    call: Call
    result: dict[str, Any]


@dataclass(frozen=True)
class Situation:
    """What a conversation is made from."""

    id: str
    good: GoodText
    room: Room
    kind: Kind
    calls: tuple[CallResult, ...]
    offered: tuple[str, ...]
    """The names of the tools in the conversation's schema."""
    topic: str = ""
    """The topic of a conversation without calls."""


def situations(
    settings: ToolsSettings, goods: Sequence[GoodText], principles: Sequence[Principle], side: str, samples: int
) -> list[Situation]:
    """At most `samples` situations, from each text in turn, each for the tool with the fewest so far.

    `goods` are from one side of the split, and so is all that a room holds.
    """
    long = [good for good in goods if len(chapters_of(good.text, settings.chapter_words)) > 1]
    counts: dict[Kind, Counter[str]] = {kind: Counter() for kind in get_args(Kind)}
    found: list[Situation] = []
    for number in range(samples if long else 0):
        good = long[number % len(long)]
        rng = random.Random(f"{settings.seed}/{number}/{good.sha256}")
        room = _room(settings, good, long, principles, rng)
        kind = _kind(settings, rng)
        calls = () if kind == "none" else _calls(room, kind, counts[kind], rng)
        if calls:
            counts[kind][calls[0].call.tool] += 1
        if calls or kind == "none":
            topic = "" if calls else rng.choice(TOPICS)
            offered = _offered(settings, calls, rng)
            found.append(Situation(f"{side}/{number:06}", good, room, kind, calls, offered, topic))
    return found


def chapters_of(text: str, words: int) -> list[Chapter]:
    """Divide a story into chapters at its headings, and otherwise after about `words` words, in whole paragraphs."""
    found: list[Chapter] = []
    blocks: list[str] = []
    title, total = "", 0
    for block in [*paragraphs(text), "## "]:
        heading = block.startswith("## ")
        if blocks and (heading or total >= words):
            found.append(Chapter(title=title or f"Chapter {len(found) + 1}", text="\n\n".join(blocks)))
            title, blocks, total = "", [], 0
        if heading:
            title = " ".join(block[3:].split())[:100]
        else:
            blocks.append(block)
            total += count_words(block)
    return found


def characters(room: Room) -> list[str]:
    """The names of characters who speak or move, the most frequent first."""
    text = "\n".join(one.text for one in room.chapters)
    found = Counter(name for pair in _SPEAKER.findall(text) for name in pair if name and name not in _NOT_NAMES)
    return [name for name, _ in found.most_common() if not regex.search(rf"\b{name.lower()}\b", text)]


def _is_she(name: str, room: Room) -> bool:
    """Guess from the pronouns that follow the name."""
    text = "\n".join(one.text for one in room.chapters)
    after = " ".join(text[found.end() : found.end() + 80] for found in regex.finditer(rf"\b{name}\b", text))
    she, he = (len(regex.findall(rf"\b(?:{words})\b", after.lower())) for words in ("she|her|hers", "he|him|his"))
    return she > he


def _room(
    settings: ToolsSettings,
    good: GoodText,
    goods: Sequence[GoodText],
    principles: Sequence[Principle],
    rng: random.Random,
) -> Room:
    chapters = chapters_of(good.text, settings.chapter_words)
    written = tuple(chapters[: rng.randint(2, min(settings.max_chapters, len(chapters)))])
    words = sum(count_words(one.text) for one in written)
    others = [one for one in goods if one.id != good.id]
    references = [
        Reference(title=_title(one), text=rng.choice(passages))
        for one in rng.sample(others, min(settings.references, len(others)))
        if (passages := cut_passages(one.text, 120))
    ]
    return Room(
        title=_title(good),
        chapters=written,
        target=round_words(int(words * rng.uniform(1.3, 3))) if rng.random() < 0.7 else None,
        principles=tuple(rng.sample(principles, min(MAX_PRINCIPLES, len(principles)))),
        references=tuple(references),
    )


def _title(good: GoodText) -> str:
    prompt = "\n".join(message.content for message in good.prompt)
    found = regex.search(r"^Title: (.{1,100})$", prompt, regex.MULTILINE)
    return found[1].strip() if found else "Untitled"


def _kind(settings: ToolsSettings, rng: random.Random) -> Kind:
    drawn = rng.random()
    shares = (("none", settings.no_tool_share), ("error", settings.error_share), ("two", settings.two_calls_share))
    for kind, share in shares:
        if drawn < share:
            return kind  # type: ignore[return-value]
        drawn -= share
    return "one"


def _offered(settings: ToolsSettings, calls: Sequence[CallResult], rng: random.Random) -> tuple[str, ...]:
    """The tools that are called and some others, in random order."""
    needed = list(dict.fromkeys(one.call.tool for one in calls))
    others = [name for name in TOOLS if name not in needed]
    free = max(0, settings.max_tools - len(needed))
    offered = needed + rng.sample(others, min(len(others), rng.randint(min(1, free), free)))
    return tuple(rng.sample(offered, len(offered)))


def _calls(room: Room, kind: Kind, counts: Counter[str], rng: random.Random) -> tuple[CallResult, ...]:
    """The calls with their results; empty if no tool has a call of this kind in the room."""
    order = rng.sample(list(TOOLS), len(TOOLS))
    for tool in sorted(order, key=lambda one: counts[one]):
        arguments = (impossible if kind == "error" else sensible)(tool, room, rng)
        if arguments is None:
            continue
        call = Call(tool, arguments)
        try:
            outcome = run(room, tool, arguments)
        except ToolError as error:
            if kind == "error":
                return (CallResult(call, {"error": str(error)}),)
            continue
        if kind == "error":
            continue
        first = CallResult(call, outcome.result)
        if kind == "one":
            return (first,)
        if (second := following(first, outcome.room, rng)) and (result := _run(second, outcome.room)):
            return first, CallResult(second, result.result)
    return ()


def _run(call: Call, room: Room) -> Outcome | None:
    try:
        return run(room, call.tool, call.arguments)
    except ToolError:
        return None


def sensible(tool: str, room: Room, rng: random.Random) -> dict[str, Any] | None:
    """Arguments that make sense in this room; None if there are none."""
    number = rng.randint(1, len(room.chapters))
    match tool:
        case "count_words":
            return {"chapter": number} if rng.random() < 0.7 else {}
        case "read_chapter":
            return {"number": number}
        case "find_in_story":
            word = _some_word("\n".join(one.text for one in room.chapters), rng)
            return {"query": word} if word else None
        case "search_references":
            word = _some_word(rng.choice(room.references).text, rng) if room.references else ""
            return {"query": word} if word else None
        case "list_principles":
            tasks = sorted({task for one in room.principles for task in one.tasks})
            return {"task": rng.choice(tasks)} if tasks else None
        case "set_target":
            return {"words": round_words(int(room.words * rng.uniform(1.3, 4)))}
        case "rename_character":
            if not (names := characters(room)[:4]):
                return None
            old = rng.choice(names)
            return {"old": old, "new": rng.choice(WOMEN if _is_she(old, room) else MEN)}
        case _:
            return {}


def impossible(tool: str, room: Room, rng: random.Random) -> dict[str, Any] | None:
    """Plausible arguments for which the tool fails; None if it does not fail in such a way."""
    beyond = len(room.chapters) + rng.randint(1, 3)
    match tool:
        case "count_words":
            return {"chapter": beyond}
        case "read_chapter":
            return {"number": beyond}
        case "find_in_story":
            found = sensible(tool, room, rng)
            return found | {"chapter": beyond} if found else None
        case "list_principles":
            tasks = sorted(set(TASKS) - {task for one in room.principles for task in one.tasks})
            return {"task": rng.choice(tasks)} if tasks else None
        case "set_target":
            return {"words": round_words(room.words // 2)}
        case "rename_character":
            old, new = rng.sample(rng.choice((WOMEN, MEN)), 2)
            return {"old": old, "new": new}
        case _:
            return None


def following(first: CallResult, room: Room, rng: random.Random) -> Call | None:
    """The call that a writer may want next, after the result of the first; None if there is none."""
    number = rng.randint(1, len(room.chapters))
    arguments = first.call.arguments
    match first.call.tool:
        case "find_in_story":
            places = first.result["places"]
            return Call("read_chapter", {"number": places[0]["chapter"]}) if places else None
        case "outline_of_story" | "list_principles":
            return Call("read_chapter", {"number": number})
        case "rename_character":
            return Call("find_in_story", {"query": arguments["new"]})
        case "set_target":
            return Call("story_status", {})
        case "story_status":
            return Call("set_target", {"words": round_words(int(room.words * rng.uniform(1.3, 4)))})
        case "count_words":
            other = number if number != arguments.get("chapter") else number % len(room.chapters) + 1
            return Call("count_words", {"chapter": other})
        case "search_references":
            return Call("find_in_story", {"query": arguments["query"]})
        case _:
            return Call("count_words", {"chapter": arguments["number"]})


def _some_word(text: str, rng: random.Random) -> str:
    """A word rare enough to search for, in lower case; empty if there is none."""
    counts = Counter(WORD.findall(text))
    words = sorted(
        word for word, count in counts.items() if count <= 4 and len(word) > 5 and word.islower() and word.isalpha()
    )
    return rng.choice(words) if words else ""
