"""Rooms, and calls that make sense in them: which tool, with which arguments, chosen by code from the room itself and never by a model.

Weaver's order: choose the tool, imagine the situation and the arguments, and only then infer what a user would say (section 3.5).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import regex

from training.common.records import Principle, Task
from training.common.text import WORD, count_words, paragraphs, round_words
from training.constitution.texts import GoodText
from training.instruct.data_settings import ToolsSettings
from training.instruct.room import TOOLS, Chapter, Outcome, Reference, Refused, Room, run
from training.instruct.similar import cut_passages

Kind = Literal["one", "two", "refused", "none"]
"""One call; two, of which the second follows from the first; one that is refused; none, because no tool is of use."""

MOST_PRINCIPLES = 20
_SPEECH = "said|asked|replied|cried|answered|whispered|exclaimed|murmured|shouted|returned|went|came|looked|stood|sat"
_NAME = r"\p{Lu}\p{Ll}{2,}"
_SPEAKER = regex.compile(rf"\b(?:{_SPEECH})\s+({_NAME})\b|\b({_NAME})\s+(?:{_SPEECH})\b")
_NO_NAME = frozenset(["The", "This", "That", "They", "There", "Then", "She", "You", "Who", "What", "Mrs", "Miss", "Sir", "Lord", "Lady", "Doctor", "Father", "Mother", "One", "Nobody", "Somebody", "Everybody", "It", "He", "But", "And"])  # fmt: skip
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
    "how to make two characters sound unlike each other",
    "writing on after some weeks away from a story",
    "whether a short story needs a villain",
    "past tense or present tense for a story told by a child",
    "how to write a quarrel in which both are right",
    "what an unreliable narrator may keep silent about",
    "how to cut adverbs without making the prose bare",
    "thanks for the help so far, with a word about what comes next",
    "how much of a dialect to spell out in dialogue",
    "where in a mystery the decisive clue should stand",
    "what a title should give away",
    "how to write about grief without big words",
)


@dataclass(frozen=True)
class Call:
    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Done:
    """A call with what came of it."""

    call: Call
    answer: dict[str, Any]


@dataclass(frozen=True)
class Situation:
    """What a conversation is made of. `shown` are the tools that it offers, `topic` what it is about where none is called."""

    id: str
    good: GoodText
    room: Room
    kind: Kind
    done: tuple[Done, ...]
    shown: tuple[str, ...]
    topic: str = ""


def situations(
    settings: ToolsSettings, goods: Sequence[GoodText], principles: Sequence[Principle], side: str, samples: int
) -> list[Situation]:
    """So many, text after text; each time for a tool that has the fewest so far.

    `goods` are of one side of the split: what lies in a room is from the same side.
    """
    long = [good for good in goods if len(chapters_of(good.text, settings.chapter_words)) > 1]
    counts: dict[Kind, Counter[str]] = {kind: Counter() for kind in get_args(Kind)}
    found: list[Situation] = []
    for number in range(samples if long else 0):
        good = long[number % len(long)]
        rng = random.Random(f"{settings.seed}/{number}/{good.sha256}")
        room = _room(settings, good, long, principles, rng)
        kind = _kind(settings, rng)
        done = () if kind == "none" else _done(room, kind, counts[kind], rng)
        if done:
            counts[kind][done[0].call.tool] += 1
        if done or kind == "none":
            topic = "" if done else rng.choice(TOPICS)
            shown = _shown(settings, done, rng)
            found.append(Situation(f"{side}/{number:06}", good, room, kind, done, shown, topic))
    return found


def chapters_of(text: str, words: int) -> list[Chapter]:
    """A story in chapters: at its headings, and else after about so many words, in whole paragraphs."""
    found: list[Chapter] = []
    blocks: list[str] = []
    title, taken = "", 0
    for block in [*paragraphs(text), "## "]:
        heading = block.startswith("## ")
        if blocks and (heading or taken >= words):
            found.append(Chapter(title=title or f"Chapter {len(found) + 1}", text="\n\n".join(blocks)))
            title, blocks, taken = "", [], 0
        if heading:
            title = " ".join(block[3:].split())[:100]
        else:
            blocks.append(block)
            taken += count_words(block)
    return found


def characters(room: Room) -> list[str]:
    """Names of those who speak or move, most often named first."""
    text = "\n".join(one.text for one in room.chapters)
    found = Counter(name for pair in _SPEAKER.findall(text) for name in pair if name and name not in _NO_NAME)
    return [name for name, _ in found.most_common() if not regex.search(rf"\b{name.lower()}\b", text)]


def _is_she(name: str, room: Room) -> bool:
    """By the pronouns that follow the name."""
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
    written = tuple(chapters[: rng.randint(2, min(settings.most_chapters, len(chapters)))])
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
        principles=tuple(rng.sample(principles, min(MOST_PRINCIPLES, len(principles)))),
        references=tuple(references),
    )


def _title(good: GoodText) -> str:
    said = "\n".join(message.content for message in good.prompt)
    found = regex.search(r"^Title: (.{1,100})$", said, regex.MULTILINE)
    return found[1].strip() if found else "Untitled"


def _kind(settings: ToolsSettings, rng: random.Random) -> Kind:
    drawn = rng.random()
    for kind, share in (("none", settings.no_tool), ("refused", settings.refused), ("two", settings.two)):
        if drawn < share:
            return kind  # type: ignore[return-value]
        drawn -= share
    return "one"


def _shown(settings: ToolsSettings, done: Sequence[Done], rng: random.Random) -> tuple[str, ...]:
    """The tools that are called, among others, in any order."""
    needed = list(dict.fromkeys(one.call.tool for one in done))
    others = [name for name in TOOLS if name not in needed]
    room = max(0, settings.most_shown - len(needed))
    shown = needed + rng.sample(others, min(len(others), rng.randint(min(1, room), room)))
    return tuple(rng.sample(shown, len(shown)))


def _done(room: Room, kind: Kind, counts: Counter[str], rng: random.Random) -> tuple[Done, ...]:
    """The calls, and what came of them; empty where this room has nothing for any tool."""
    order = rng.sample(list(TOOLS), len(TOOLS))
    for tool in sorted(order, key=lambda one: counts[one]):
        arguments = (impossible if kind == "refused" else sensible)(tool, room, rng)
        if arguments is None:
            continue
        call = Call(tool, arguments)
        try:
            outcome = run(room, tool, arguments)
        except Refused as refused:
            if kind == "refused":
                return (Done(call, {"error": str(refused)}),)
            continue
        if kind == "refused":
            continue
        first = Done(call, outcome.answer)
        if kind == "one":
            return (first,)
        if (then := following(first, outcome.room, rng)) and (second := _ran(then, outcome.room)):
            return first, Done(then, second.answer)
    return ()


def _ran(call: Call, room: Room) -> Outcome | None:
    try:
        return run(room, call.tool, call.arguments)
    except Refused:
        return None


def sensible(tool: str, room: Room, rng: random.Random) -> dict[str, Any] | None:
    """Arguments that somebody in this room would mean; None where there are none."""
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
    """Arguments that somebody would mean who has forgotten how things are; None where the tool refuses nothing of the kind."""
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
            tasks = sorted(set(get_args(Task)) - {task for one in room.principles for task in one.tasks})
            return {"task": rng.choice(tasks)} if tasks else None
        case "set_target":
            return {"words": round_words(room.words // 2)}
        case "rename_character":
            old, new = rng.sample(rng.choice((WOMEN, MEN)), 2)
            return {"old": old, "new": new}
        case _:
            return None


def following(first: Done, room: Room, rng: random.Random) -> Call | None:
    """What somebody would want done next, once the first answer is there."""
    number = rng.randint(1, len(room.chapters))
    arguments = first.call.arguments
    match first.call.tool:
        case "find_in_story":
            places = first.answer["places"]
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
    """A word that is rare enough to be looked for, in small letters; empty where there is none."""
    counts = Counter(WORD.findall(text))
    words = sorted(
        word for word, count in counts.items() if count <= 4 and len(word) > 5 and word.islower() and word.isalpha()
    )
    return rng.choice(words) if words else ""
