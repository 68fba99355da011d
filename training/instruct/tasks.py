"""Weaver's ten tasks, each as a way to find the request that a good text answers.

    task            the answer is            the teacher makes                            the request holds
    write           the whole text           the request; the plan before it              the request, the length
    expand          the passage              notes or a summary of it                     request, notes
    polish          the passage              a worse version                              request, worse version
    condense        the passage              a longer, wordier version                    request, longer version
    style_transfer  the passage              the same in another style                    request, other version
    outline         the teacher's            an outline of the whole text                 the request
    review          the teacher's            a review that quotes the passage             request, passage
    brainstorm      the teacher's            ideas, the text's own among them             the request
    title           the teacher's            titles                                       request, passage
    chat            the teacher's            an answer about the craft of the passage     request, passage

What a person wrote is the answer wherever it can be, so that a model learns to write from people: what the teacher makes worse, plainer,
longer or shorter is only read. The five tasks whose answer no story holds are learned from the teacher.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from training.common.records import Task
from training.instruct.answers import Beside, Found, Listing, Quoting, Request, Written


@dataclass(frozen=True)
class Way:
    """How one task's requests are found. Bounds are of what the teacher made, against the text; both ends are allowed."""

    task: Task
    shape: type[Found]
    asks: str
    """What the teacher is to make."""
    ways: tuple[str, ...]
    """One of them is drawn for each text, so that not all rows are of a kind."""
    human: bool = False
    """The answer is the text itself."""
    whole: bool = False
    """It takes the whole text, not a passage."""
    shown: bool = False
    """The text stands in the request."""
    length: tuple[float, float] = (0.0, 1e9)
    """Words that the teacher made for each word of the text."""
    changed: tuple[float, float] = (0.0, 1.0)
    """Share of the words that differ."""
    common: float = 0.0
    """Least share of the rarer words of the shorter of the two that the other has, too: an unrelated text has few."""
    quotes: bool = True
    """What the teacher made may hold whole sentences of the text."""
    item: int = 80
    """Most words of an entry of a list."""


_WAYS = (
    Way(
        "write",
        Request,
        "The answer is the text itself. Find the request that it answers best: one that names what the text is about - its people, place, "
        "situation, mood - as somebody would who wishes for such a text and does not know it. For a story, ask for a short story, and do not "
        "give away how it ends or what its turn is. Say nothing of its length in words: a sentence about that is added.",
        (
            "It names the situation only.",
            "It names the people and the place.",
            "It names a mood and the thing at the centre.",
            "It asks for a form and a voice as well as a subject.",
        ),
        human=True,
        whole=True,
    ),
    Way(
        "expand",
        Beside,
        "The answer is the text itself. Make the `context` that its writer may have had before: a short version that holds what happens, with "
        "names and facts, and none of the sentences. Then find the request to make the text out of it. The request may say what is to be dwelt "
        "on and what is to be left open.",
        ("The context is notes in fragments.", "The context is a summary in plain sentences.", "The context is a list of beats."),
        human=True,
        length=(0.05, 0.65),
        common=0.2,
        quotes=False,
    ),
    Way(
        "polish",
        Beside,
        "The answer is the text itself. Make the `context`: an earlier draft of it, as a person would write it who has the story but not yet the "
        "words. All that happens and all that is said stays, in the same order, in about as many words; the sentences are worse. Then find the "
        "request to revise the draft, which names what is wrong with it as its author feels it.",
        (
            "The draft is wordy and abstract.",
            "The draft explains what the text shows, and leans on stock phrases.",
            "The draft is in a hurry: slips of grammar, the same word again and again, sentences all of one length.",
            "The draft is overwritten, with an adjective for each noun.",
        ),
        human=True,
        length=(0.6, 1.6),
        changed=(0.05, 0.85),
        common=0.35,
    ),
    Way(
        "condense",
        Beside,
        "The answer is the text itself. Make the `context`: a longer version out of which it could have been cut, half as long again or twice as "
        "long, in which the same happens with more words: things are said twice, explained, introduced. Then find the request to cut it down, "
        "which says how short it is to be, or what must stay.",
        (
            "The longer version introduces and explains everything.",
            "The longer version says most things twice.",
            "The longer version wanders to side matters between the sentences.",
        ),
        human=True,
        length=(1.2, 4.0),
        common=0.5,
    ),
    Way(
        "style_transfer",
        Beside,
        "The answer is the text itself. Make the `context`: the same matter in quite another style, with the same people and facts. Then find the "
        "request to rewrite it in the style of the text: describe that style by its marks (sentences, distance, what is left unsaid, tone), so that "
        "the text is plainly the answer. Name no author.",
        (
            "The context is a report, dry and in order.",
            "The context is a message to a friend.",
            "The context is a fairy tale's telling.",
            "The context is melodrama.",
            "The context is a newspaper's short item.",
        ),
        human=True,
        length=(0.3, 2.5),
        changed=(0.3, 1.0),
        common=0.15,
    ),
    Way(
        "outline",
        Written,
        "Write as `output` the outline that this text could have been written from: its scenes or steps in order, what changes in each, and how it "
        "ends; shorter than the text, in your own words. Then find the request of a writer who has only the idea and asks for such an outline. "
        "It tells of the idea, not of what the outline does with it.",
        ("Scenes with numbers.", "Beats, a line each.", "Beginning, middle and end, with what is at stake in each."),
        whole=True,
        length=(0.02, 0.99),
        quotes=False,
    ),
    Way(
        "review",
        Quoting,
        "Write as `output` the review of a good editor: what the text does well and what it could do better, each shown by words of the text, with "
        "a proposal where something could be better. Honest, particular, no general praise. Copy into `quotes` each run of the text's words that "
        "the review quotes, exactly as it stands there. Then find the request of the text's author, who asks to have it read; the text is put "
        "below the request.",
        ("The author asks in general.", "The author is unsure about one thing.", "The author wants the faults first."),
        shown=True,
    ),
    Way(
        "brainstorm",
        Listing,
        "Find the question that a writer asked before there was a text: stuck, with a situation and no way on. Then give as `items` four to eight "
        "ideas that differ in kind, a sentence or two each; what the text does is one of them, in other words and not marked. The question "
        "tells the situation, and that no text is there yet.",
        ("Ways how it could go on.", "Characters or things that could be at its centre.", "Openings, or points of view."),
        quotes=False,
    ),
    Way(
        "title",
        Listing,
        "Give as `items` three to six titles for the text, of eight words at most, that differ in kind: a thing, a phrase, a name, an angle. None "
        "gives away the end, none is a phrase that could stand over anything. Then find the request of its author for titles; the text is "
        "put below the request.",
        ("The author says where it will be printed.", "The author has a title and dislikes it.", "The author just asks."),
        shown=True,
        item=10,
    ),
    Way(
        "chat",
        Quoting,
        "Find a question about the craft of writing that somebody would ask who has just read this text: how it does something, why something is "
        "so, how one could do the like. Write as `output` the answer of a writer in conversation: plain, to the point, with words of the text as "
        "evidence and something to try. Copy into `quotes` each run of the text's words that the answer quotes, exactly as it stands there. "
        "The text is put below the question.",
        ("A beginner asks.", "Somebody asks who disagrees with a choice of the text.", "A writer asks who wants to do the like."),
        shown=True,
    ),
)  # fmt: skip
WAYS: Mapping[Task, Way] = {way.task: way for way in _WAYS}

VOICES = (
    "friendly, in two or three sentences",
    "curt: one sentence",
    "polite and exact, in three or four sentences",
    "like a message typed on a telephone, small letters allowed",
    "as somebody writes who has thought about it for long: a paragraph with particulars",
    "as a question",
    "as an editor writes to a colleague, in two sentences",
    "by somebody who writes for the first time and says so, or lets it show",
)
"""How a request sounds. One is drawn for each row: teachers left alone write all requests alike."""
