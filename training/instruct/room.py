"""The tools of a writing room, as functions that run: what a model is taught to call, and what its calls are checked by.

    run(room, "read_chapter", '{"number": 2}')      # an Outcome, or Refused, whose words the model reads in the place of an answer

A tool is a function of a room and of its arguments, a pydantic class. Its docstring, the class and the fields' descriptions make the schema
that a model is shown. Whatever a model puts into the arguments, a tool answers or refuses; nothing else is ever raised.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, get_type_hints

import regex
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.common.records import Principle, Task
from training.common.text import WORD, paragraphs, sentence_bounds
from training.common.text import count_words as counted

MOST_FOUND = 5
"""Places, references and principles that an answer shows."""
MOST_WORDS = 200_000


class Chapter(BaseModel):
    model_config = ConfigDict(frozen=True)

    title: str
    text: str


class Reference(BaseModel):
    model_config = ConfigDict(frozen=True)

    title: str
    text: str


class Room(BaseModel):
    """A story that is being written, and what lies beside it. A tool that changes something gives another room."""

    model_config = ConfigDict(frozen=True)

    title: str
    chapters: tuple[Chapter, ...] = Field(min_length=1)
    target: int | None = None
    principles: tuple[Principle, ...] = ()
    references: tuple[Reference, ...] = ()

    @property
    def words(self) -> int:
        return sum(counted(one.text) for one in self.chapters)

    def chapter(self, number: int) -> Chapter:
        if number > len(self.chapters):
            raise Refused(f"There is no chapter {number}: the story has {len(self.chapters)} so far.")
        return self.chapters[number - 1]


class Refused(Exception):
    """A tool cannot do what it was called for; the message says why to the model."""


class Outcome(NamedTuple):
    answer: dict[str, Any]
    room: Room


class Asked(BaseModel):
    """Arguments. A number is a number and a text a text: what a model only nearly got right is not taught."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


A = TypeVar("A", bound=Asked)


@dataclass(frozen=True)
class Tool:
    name: str
    arguments: type[Asked]
    function: Callable[[Room, Any], Outcome]

    @property
    def schema(self) -> dict[str, Any]:
        """As OpenAI's `tools` and chat templates want it."""
        parameters = _plain(self.arguments.model_json_schema())
        parameters.pop("description", None)
        described = " ".join((self.function.__doc__ or "").split())
        function = {"name": self.name, "description": described, "parameters": parameters}
        return {"type": "function", "function": function}


TOOLS: dict[str, Tool] = {}


def tool(function: Callable[[Room, A], Outcome]) -> Callable[[Room, A], Outcome]:
    _, arguments, _ = get_type_hints(function).values()
    TOOLS[function.__name__] = Tool(function.__name__, arguments, function)
    return function


def run(room: Room, name: str, arguments: str | Mapping[str, Any]) -> Outcome:
    """Raises Refused where there is no such tool, where the arguments are not its own, and where it cannot do it."""
    if name not in TOOLS:
        raise Refused(f"There is no tool {name[:50]}.")
    one = TOOLS[name]
    try:
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        asked = one.arguments.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "arguments"
        raise Refused(f"{where}: {first['msg']}"[:300]) from None
    except (ValueError, TypeError, RecursionError):
        raise Refused("arguments: no JSON") from None
    return one.function(room, asked)


def said(answer: Mapping[str, Any]) -> str:
    """The content of a tool's message."""
    return json.dumps(answer, ensure_ascii=False)


def _plain(schema: Any) -> Any:
    """Without titles and nulls: a field that may be absent is one that is not required."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if [kind for kind in schema.get("anyOf", ()) if kind == {"type": "null"}]:
        [kind] = [kind for kind in schema["anyOf"] if kind != {"type": "null"}]
        schema = {name: value for name, value in schema.items() if name not in ("anyOf", "default")} | kind
    return {
        name: {field: _plain(one) for field, one in value.items()} if name == "properties" else _plain(value)
        for name, value in schema.items()
        if name != "title"
    }


class Nothing(Asked):
    pass


class OfChapter(Asked):
    number: int = Field(ge=1, le=1000, description="of the chapter, from 1")


class CountWords(Asked):
    chapter: int | None = Field(None, ge=1, le=1000, description="only this chapter, from 1")
    text: str | None = Field(None, min_length=1, max_length=100_000, description="this text, and nothing of the story")


class Find(Asked):
    query: str = Field(min_length=1, max_length=200, description="words as they stand in the story")
    chapter: int | None = Field(None, ge=1, le=1000, description="only in this chapter, from 1")


class Search(Asked):
    query: str = Field(min_length=1, max_length=200, description="words to look for")


class ForTask(Asked):
    task: Task = Field(description="what is being done")


class Target(Asked):
    words: int = Field(ge=10, le=MOST_WORDS, description="that the whole story is to have")


class Rename(Asked):
    old: str = Field(min_length=1, max_length=60, description="the name as it stands in the story")
    new: str = Field(min_length=1, max_length=60, description="the name to stand there")


@tool
def count_words(room: Room, asked: CountWords) -> Outcome:
    """Count the words of the story, of one of its chapters, or of a text that is given."""
    if asked.chapter is not None and asked.text is not None:
        raise Refused("Give a chapter or a text, not both.")
    if asked.text is not None:
        return Outcome({"words": counted(asked.text)}, room)
    if asked.chapter is not None:
        return Outcome({"chapter": asked.chapter, "words": counted(room.chapter(asked.chapter).text)}, room)
    return Outcome({"words": room.words}, room)


@tool
def read_chapter(room: Room, asked: OfChapter) -> Outcome:
    """Read a chapter of the story, whole."""
    chapter = room.chapter(asked.number)
    answer = {"chapter": asked.number, "title": chapter.title, "words": counted(chapter.text), "text": chapter.text}
    return Outcome(answer, room)


@tool
def find_in_story(room: Room, asked: Find) -> Outcome:
    """Find where words stand in the story, small and capital letters alike: how often, and the first sentences that have them."""
    pattern = _whole(asked.query)
    chapters = range(1, len(room.chapters) + 1)
    if asked.chapter is not None:
        room.chapter(asked.chapter)
        chapters = range(asked.chapter, asked.chapter + 1)
    places: list[dict[str, Any]] = []
    times = 0
    for number in chapters:
        for place, block in enumerate(paragraphs(room.chapters[number - 1].text), 1):
            found = list(pattern.finditer(block))
            times += len(found)
            if found:
                sentence = _sentence_at(block, found[0].start())
                places.append({"chapter": number, "paragraph": place, "sentence": sentence})
    return Outcome({"times": times, "paragraphs": len(places), "places": places[:MOST_FOUND]}, room)


@tool
def outline_of_story(room: Room, _: Nothing) -> Outcome:
    """List the chapters that are written, each with its title, its words and how it begins."""
    rows = [
        {"chapter": number, "title": one.title, "words": counted(one.text), "begins": _sentence_at(one.text, 0)}
        for number, one in enumerate(room.chapters, 1)
    ]
    return Outcome({"chapters": rows}, room)


@tool
def story_status(room: Room, _: Nothing) -> Outcome:
    """Say how far the story is: its chapters, its words, and its target in words if it has one, with what is left."""
    answer: dict[str, Any] = {"title": room.title, "chapters": len(room.chapters), "words": room.words}
    if room.target is not None:
        answer |= {"target": room.target, "left": max(0, room.target - room.words)}
    return Outcome(answer, room)


@tool
def set_target(room: Room, asked: Target) -> Outcome:
    """Set how many words the whole story is to have. It cannot be fewer than are written."""
    if asked.words < room.words:
        raise Refused(f"The story has {room.words} words already, so its target cannot be {asked.words}.")
    answer = {"before": room.target, "target": asked.words, "left": asked.words - room.words}
    return Outcome(answer, room.model_copy(update={"target": asked.words}))


@tool
def rename_character(room: Room, asked: Rename) -> Outcome:
    """Put another name in the place of a character's, all through the story."""
    old, new = _whole(asked.old, exact=True), asked.new.strip()
    if not WORD.search(new) or "\n" in new:
        raise Refused("The new name is no name.")
    if any(_whole(new, exact=True).search(one.text) for one in room.chapters):
        raise Refused(f"{new} stands in the story already, so the two could not be told apart.")
    times = [len(old.findall(one.text)) for one in room.chapters]
    if not sum(times):
        raise Refused(f"Nobody in the story is called {asked.old}.")
    chapters = tuple(one.model_copy(update={"text": old.sub(lambda _: new, one.text)}) for one in room.chapters)
    changed = [{"chapter": number, "times": one} for number, one in enumerate(times, 1) if one]
    answer = {"old": asked.old, "new": new, "times": sum(times), "chapters": changed}
    return Outcome(answer, room.model_copy(update={"chapters": chapters}))


@tool
def list_principles(room: Room, asked: ForTask) -> Outcome:
    """List the house's principles of good writing for a task."""
    fitting = [one for one in room.principles if asked.task in one.tasks]
    if not fitting:
        raise Refused(f"The house has no principles for the task {asked.task}.")
    shown = [{"name": one.name, "explanation": one.explanation} for one in fitting[:MOST_FOUND]]
    return Outcome({"task": asked.task, "number": len(fitting), "principles": shown}, room)


@tool
def search_references(room: Room, asked: Search) -> Outcome:
    """Search the passages of other texts that were laid beside the story; those with most of the words come first."""
    wanted = {word.lower() for word in WORD.findall(asked.query)}
    having = [
        (len(wanted & {word.lower() for word in WORD.findall(f"{one.title} {one.text}")}), one)
        for one in room.references
    ]
    best = sorted((one for one in having if one[0]), key=lambda one: -one[0])[:2]
    found = [{"title": one.title, "text": one.text} for _, one in best]
    return Outcome({"references": len(room.references), "found": found}, room)


def _whole(words: str, *, exact: bool = False) -> regex.Pattern[str]:
    """These words, not as a part of longer ones; blanks between them as they come."""
    parts = words.split()
    if not parts:
        raise Refused("There is no word to look for.")
    said = r"\s+".join(map(regex.escape, parts))
    return regex.compile(rf"(?<![\p{{L}}\p{{N}}]){said}(?![\p{{L}}\p{{N}}])", 0 if exact else regex.IGNORECASE)


def _sentence_at(text: str, place: int) -> str:
    """The sentence that a character stands in, 300 characters of it at most."""
    ends = sentence_bounds(text)
    start = max(end for end in ends if end <= place)
    end = min((end for end in ends if end > place), default=len(text))
    return text[start:end].strip()[:300]
