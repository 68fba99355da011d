"""The tools of a writing room, as functions that run. A model is taught to call them, and its calls are checked by running them.

    run(room, "read_chapter", '{"number": 2}')      # an Outcome, or ToolError, whose message the model reads as the result

A tool is a function of a room and of its arguments, a pydantic class. Its docstring, the class and the descriptions of the fields make
the schema that a model is shown. Whatever the arguments are, a tool returns an Outcome or raises ToolError, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, get_type_hints

import regex
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.common.records import Principle
from training.common.tasks import TaskKey
from training.common.text import WORD, paragraphs, sentence_bounds
from training.common.text import count_words as words_in

MAX_RESULTS = 5
"""Places and principles that a result lists at most."""
MAX_TARGET = 200_000
"""Words."""


class Chapter(BaseModel):
    model_config = ConfigDict(frozen=True)

    title: str
    text: str


class Reference(BaseModel):
    """A passage of another text."""

    model_config = ConfigDict(frozen=True)

    title: str
    text: str


class Room(BaseModel):
    """A story that is being written, with its material. A tool that changes something returns a new room."""

    model_config = ConfigDict(frozen=True)

    title: str
    chapters: tuple[Chapter, ...] = Field(min_length=1)
    target: int | None = None
    principles: tuple[Principle, ...] = ()
    references: tuple[Reference, ...] = ()

    @property
    def words(self) -> int:
        return sum(words_in(one.text) for one in self.chapters)

    def chapter(self, number: int) -> Chapter:
        """The chapter with this number, from 1. Raises ToolError if there is none."""
        if number > len(self.chapters):
            raise ToolError(f"There is no chapter {number}: the story has {len(self.chapters)} so far.")
        return self.chapters[number - 1]


class ToolError(Exception):
    """A tool cannot do what was asked; the message tells the model why."""


class Outcome(NamedTuple):
    """The result of a call, as JSON, and the room after it."""

    result: dict[str, Any]
    room: Room


class Arguments(BaseModel):
    """Arguments are strict: a number is not accepted as text, nor text as a number, so that only correct calls are taught."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True)
class Tool:
    name: str
    arguments: type[Arguments]
    function: Callable[[Room, Any], Outcome]

    @property
    def schema(self) -> dict[str, Any]:
        """The schema in the form of OpenAI's `tools`, which chat templates take, too."""
        parameters = _simplified(self.arguments.model_json_schema())
        parameters.pop("description", None)
        description = " ".join((self.function.__doc__ or "").split())
        function = {"name": self.name, "description": description, "parameters": parameters}
        return {"type": "function", "function": function}


TOOLS: dict[str, Tool] = {}


def tool(function: Callable[[Room, A], Outcome]) -> Callable[[Room, A], Outcome]:
    """Register a function as a tool under its own name."""
    _, arguments, _ = get_type_hints(function).values()
    TOOLS[function.__name__] = Tool(function.__name__, arguments, function)
    return function


def run(room: Room, name: str, arguments: str | Mapping[str, Any]) -> Outcome:
    """Run a tool. Raises ToolError for an unknown tool, invalid arguments, and what the tool cannot do."""
    if name not in TOOLS:
        raise ToolError(f"There is no tool {name[:50]}.")
    called = TOOLS[name]
    try:
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        parsed = called.arguments.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "arguments"
        raise ToolError(f"{where}: {first['msg']}"[:300]) from None
    except (ValueError, TypeError, RecursionError):
        raise ToolError("arguments: invalid JSON") from None
    return called.function(room, parsed)


def tool_message(result: Mapping[str, Any]) -> str:
    """The content of the message with which a tool answers."""
    return json.dumps(result, ensure_ascii=False)


def _simplified(schema: Any) -> Any:
    """The schema without titles and nulls: an optional field is one that is not required."""
    if isinstance(schema, list):
        return [_simplified(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if [kind for kind in schema.get("anyOf", ()) if kind == {"type": "null"}]:
        [kind] = [kind for kind in schema["anyOf"] if kind != {"type": "null"}]
        schema = {name: value for name, value in schema.items() if name not in ("anyOf", "default")} | kind
    return {
        name: {field: _simplified(one) for field, one in value.items()} if name == "properties" else _simplified(value)
        for name, value in schema.items()
        if name != "title"
    }


class NoArguments(Arguments):
    pass


class ReadChapter(Arguments):
    number: int = Field(ge=1, le=1000, description="number of the chapter, from 1")


class CountWords(Arguments):
    chapter: int | None = Field(None, ge=1, le=1000, description="count only this chapter, from 1")
    text: str | None = Field(None, min_length=1, max_length=100_000, description="count this text instead of the story")


class FindInStory(Arguments):
    query: str = Field(min_length=1, max_length=200, description="words as they occur in the story")
    chapter: int | None = Field(None, ge=1, le=1000, description="search only this chapter, from 1")


class SearchReferences(Arguments):
    query: str = Field(min_length=1, max_length=200, description="words to search for")


class ListPrinciples(Arguments):
    task: TaskKey = Field(description="the writing task at hand")


class SetTarget(Arguments):
    words: int = Field(ge=10, le=MAX_TARGET, description="length of the whole story in words")


class RenameCharacter(Arguments):
    old: str = Field(min_length=1, max_length=60, description="the name as it occurs in the story")
    new: str = Field(min_length=1, max_length=60, description="the new name")


@tool
def count_words(room: Room, asked: CountWords) -> Outcome:
    """Count the words of the story, of one of its chapters, or of a given text."""
    if asked.chapter is not None and asked.text is not None:
        raise ToolError("Give a chapter or a text, not both.")
    if asked.text is not None:
        return Outcome({"words": words_in(asked.text)}, room)
    if asked.chapter is not None:
        return Outcome({"chapter": asked.chapter, "words": words_in(room.chapter(asked.chapter).text)}, room)
    return Outcome({"words": room.words}, room)


@tool
def read_chapter(room: Room, asked: ReadChapter) -> Outcome:
    """Read a whole chapter of the story."""
    chapter = room.chapter(asked.number)
    result = {"chapter": asked.number, "title": chapter.title, "words": words_in(chapter.text), "text": chapter.text}
    return Outcome(result, room)


@tool
def find_in_story(room: Room, asked: FindInStory) -> Outcome:
    """Find words in the story, without regard to case: how often they occur, and the first sentences that contain them."""
    pattern = _whole_words(asked.query)
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
    return Outcome({"times": times, "paragraphs": len(places), "places": places[:MAX_RESULTS]}, room)


@tool
def outline_of_story(room: Room, _: NoArguments) -> Outcome:
    """List the chapters written so far, each with its title, its length in words and its first sentence."""
    rows = [
        {"chapter": number, "title": one.title, "words": words_in(one.text), "begins": _sentence_at(one.text, 0)}
        for number, one in enumerate(room.chapters, 1)
    ]
    return Outcome({"chapters": rows}, room)


@tool
def story_status(room: Room, _: NoArguments) -> Outcome:
    """Report the progress of the story: its chapters, its words and, if it has a target, the target and the words left."""
    result: dict[str, Any] = {"title": room.title, "chapters": len(room.chapters), "words": room.words}
    if room.target is not None:
        result |= {"target": room.target, "left": max(0, room.target - room.words)}
    return Outcome(result, room)


@tool
def set_target(room: Room, asked: SetTarget) -> Outcome:
    """Set the target length of the whole story in words. It cannot be less than what is written."""
    if asked.words < room.words:
        raise ToolError(f"The story has {room.words} words already, so its target cannot be {asked.words}.")
    result = {"before": room.target, "target": asked.words, "left": asked.words - room.words}
    return Outcome(result, room.model_copy(update={"target": asked.words}))


@tool
def rename_character(room: Room, asked: RenameCharacter) -> Outcome:
    """Replace the name of a character throughout the story."""
    old, new = _whole_words(asked.old, exact=True), asked.new.strip()
    if not WORD.search(new) or "\n" in new:
        raise ToolError("The new name is not a name.")
    if any(_whole_words(new, exact=True).search(one.text) for one in room.chapters):
        raise ToolError(f"{new} already occurs in the story, so the two could not be told apart.")
    times = [len(old.findall(one.text)) for one in room.chapters]
    if not sum(times):
        raise ToolError(f"Nobody in the story is called {asked.old}.")
    chapters = tuple(one.model_copy(update={"text": old.sub(lambda _: new, one.text)}) for one in room.chapters)
    changed = [{"chapter": number, "times": one} for number, one in enumerate(times, 1) if one]
    result = {"old": asked.old, "new": new, "times": sum(times), "chapters": changed}
    return Outcome(result, room.model_copy(update={"chapters": chapters}))


@tool
def list_principles(room: Room, asked: ListPrinciples) -> Outcome:
    """List the team's principles of good writing for a task."""
    matching = [one for one in room.principles if asked.task in one.tasks]
    if not matching:
        raise ToolError(f"The team has no principles for the task {asked.task}.")
    listed = [{"name": one.name, "explanation": one.explanation} for one in matching[:MAX_RESULTS]]
    return Outcome({"task": asked.task, "number": len(matching), "principles": listed}, room)


@tool
def search_references(room: Room, asked: SearchReferences) -> Outcome:
    """Search the story's reference passages from other texts; those with the most matching words come first."""
    wanted = {word.lower() for word in WORD.findall(asked.query)}
    matches = [
        (len(wanted & {word.lower() for word in WORD.findall(f"{one.title} {one.text}")}), one)
        for one in room.references
    ]
    best = sorted((one for one in matches if one[0]), key=lambda one: -one[0])[:2]
    found = [{"title": one.title, "text": one.text} for _, one in best]
    return Outcome({"references": len(room.references), "found": found}, room)


def _whole_words(words: str, *, exact: bool = False) -> regex.Pattern[str]:
    """A pattern for these words with any whitespace between them, not inside longer words. Raises ToolError if there are none."""
    parts = words.split()
    if not parts:
        raise ToolError("There is no word to search for.")
    joined = r"\s+".join(map(regex.escape, parts))
    return regex.compile(rf"(?<![\p{{L}}\p{{N}}]){joined}(?![\p{{L}}\p{{N}}])", 0 if exact else regex.IGNORECASE)


def _sentence_at(text: str, place: int) -> str:
    """The sentence around a character, at most 300 characters of it."""
    ends = sentence_bounds(text)
    start = max(end for end in ends if end <= place)
    end = min((end for end in ends if end > place), default=len(text))
    return text[start:end].strip()[:300]
