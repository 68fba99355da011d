"""One story being written: text is passed to `advance`, goes through channels, loop guard and length contract, and is returned as
chunks by `take`. This module neither waits nor contacts a server; `session.py` and `narrator.py` do.

    stream -> Splitter -> Tidy -> ready (held back: a repetition, an unfinished sentence near the end) -> chunks
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any
from uuid import UUID

from training.common.sampling import Sampling
from training.common.text import count_words
from workers.narrator.channels import Pieces, Splitter, Tidy
from workers.narrator.length import Length, Plan, WordCount, end_of_word, quotation_closed, sentence_ends
from workers.narrator.loops import LoopGuard
from workers.narrator.prompt import Written
from workers.narrator.store import ChunkRow, GenerationRow
from writer.stories.log import join
from writer.stories.models import Channel, Ending

_LOOPS_BEFORE_GIVING_UP, _LOOPS_COUNT, _LOOPS_LINGER = 9, 200, 600
"""The number of loops within _LOOPS_COUNT words that are too many, and the words for which a loop is remembered."""
_TRIES_FOR_A_SENTENCE = 3
_LAST_SENTENCE = 60
"""Words that a sentence may still have if the story is too long already."""
_THINKING_SHARE = 0.5
"""Share of the context. A model that plans longer is asked to begin."""


class Decision(Enum):
    """What to do with the answer that is being read."""

    CONTINUE = "continue"
    AGAIN = "ask again"
    OVER = "the story is over"
    FAILED = "given up"


@dataclass
class Log:
    """One channel of the log, with the text that is not appended yet at its end."""

    text: str = ""
    taken: int = 0


class Writing:
    def __init__(self, loaded: Any) -> None:
        """`loaded` is a row of `Store.load`."""
        self.id: UUID = loaded.id
        self.story: UUID = loaded.story_id
        self.attempt: int = loaded.attempt
        self.title: str = loaded.title
        self.premise: str = loaded.premise
        self.sampling = Sampling.read(loaded.sampling or {})
        self.length = Length(loaded.target_words)
        self.seq: int = loaded.last_seq
        self.notice = ""
        self.head: UUID = loaded.head
        self.edited = False
        self.new_paragraph = False
        self._loops: list[int] = []  # the words of the story at each loop
        self.sentence_tries = 0
        self.thought_enough = False
        self.ending = Ending.NONE
        self.requests = 0

        self._logs = {
            Channel.STORY: Log(loaded.story, len(loaded.story)),
            Channel.THINKING: Log(loaded.thinking, len(loaded.thinking)),
        }
        self._order: list[tuple[Channel, int, int]] = []  # channel, length of its log, words of the story
        self._base = ""
        self._absorbed = 0
        self._set_base(loaded.text, loaded.absorbed)
        self._guard = LoopGuard(self.text)
        self._guarded = len(self._guard)
        self._ready = ""
        self._began_at = 0
        self._plan = Plan(landing=False, again_at=None, slack=0)
        self._splitter: Splitter
        self._tidy: dict[Channel, Tidy]

    # State

    @property
    def text(self) -> str:
        return join(self._base, self._logs[Channel.STORY].text[self._absorbed :])

    @property
    def words(self) -> int:
        return self._count.words

    @property
    def progress(self) -> tuple[int, int, int, int]:
        """A value that changes whenever an answer was of use."""
        story, thinking = self._logs[Channel.STORY].text, self._logs[Channel.THINKING].text
        return len(story), len(thinking), len(self._loops), self.sentence_tries

    def _set_base(self, text: str, absorbed: int) -> None:
        self._base, self._absorbed = text, absorbed
        self._count = WordCount(self.text)

    def rebase(self, head: UUID, text: str, absorbed: int) -> None:
        """Take over the writer's save: count again, and send a new request at the next end of a paragraph, so that the model reads the edit."""
        self.head = head
        self._set_base(text, absorbed)
        self.edited = True

    @property
    def complete(self) -> bool:
        """Whether an earlier attempt wrote the end, and died before it could store that."""
        return (
            bool(self._logs[Channel.STORY].text)
            and self.length.accepts_end(self.words)
            and self._ends_in_sentence()
            and quotation_closed(self._paragraph)
        )

    @property
    def decides_soon(self) -> bool:
        """Whether the next sentence may end the answer. What the model writes until that is read is wasted."""
        again = self._plan.again_at
        return (again is not None and self.words >= again - 20) or self.words >= 0.95 * self.length.target

    # Requests

    def begin(self, *, opens_thinking: bool) -> tuple[Written, Plan]:
        """Begin a new answer. Text that was held back is dropped and sampled again."""
        story, thinking = self._logs[Channel.STORY].text, self._logs[Channel.THINKING].text
        text = self.text
        inside = not text.strip() and not self.thought_enough and (bool(thinking) or opens_thinking)
        self._plan = self.length.plan(self.words)
        self._began_at = self.words
        self.edited = False
        self._ready = ""
        self._guard.rewind(self._guarded)
        fresh_paragraph = self.new_paragraph or (bool(text.strip()) and self._absorbed == len(story))
        self._splitter = Splitter(thinking=inside, begun=bool(text.strip()) or self.thought_enough)
        self._tidy = {
            Channel.STORY: Tidy(story, blank_line_first=fresh_paragraph and bool(text.strip())),
            Channel.THINKING: Tidy(thinking),
        }
        self._began_thinking_at = len(thinking)
        self.requests += 1
        return Written(text, thinking, inside, fresh_paragraph), self._plan

    # Reading

    def advance(self, text: str, finish: str | None) -> Decision:
        """Process what the model wrote. `finish` is OpenAI's finish_reason, if it was sent."""
        pieces = self._splitter.feed(text) if text else []
        decision = self._absorb(pieces)
        if decision is not Decision.CONTINUE:
            return decision
        if self._splitter.answered:
            finish = "stop"
        if finish is None:
            return Decision.CONTINUE
        decision = self._absorb(self._splitter.end())
        if decision is not Decision.CONTINUE:
            return decision
        return self._finished(by_itself=finish == "stop")

    def _absorb(self, pieces: Pieces) -> Decision:
        for channel, piece in pieces:
            if channel is Channel.THINKING:
                self._append(channel, self._tidy[channel].feed(piece))
                continue
            if not self._splitter.thinking:
                self._append(Channel.THINKING, self._tidy[Channel.THINKING].end())
            decision = self._feed_story(self._tidy[channel].feed(piece))
            if decision is not Decision.CONTINUE:
                return decision
        return Decision.CONTINUE

    def _feed_story(self, text: str) -> Decision:
        """Process normalised story text: release as much as the loop guard and the length contract allow."""
        if not text:
            return Decision.CONTINUE
        self._ready += text
        self._guard.add(text)
        if self._guard.looping:
            return self._looped()
        if self._guard.suspicious:
            return Decision.CONTINUE
        return self._release_ready()

    def _release_ready(self) -> Decision:
        """Release the text that is ready, up to the end of the story or the place for a new request."""
        gone = 0
        for end in list(sentence_ends(self._logs[Channel.STORY].text, self._ready)):
            if self._would_exceed(end.at - gone):
                return self._too_long()
            self._release(end.at - gone)
            gone = end.at
            decision = self._at_end_of_sentence(end.paragraph)
            if decision is not Decision.CONTINUE:
                return decision
        if self._would_exceed(len(self._ready)):
            return self._too_long()
        if not self.length.by_sentence(self.words):
            self._release(len(self._ready))
        return Decision.CONTINUE

    def _at_end_of_sentence(self, paragraph: bool) -> Decision:
        words = self.words
        if self.length.ends_here(words, paragraph=paragraph, closed=quotation_closed(self._paragraph)):
            return self._over(Ending.LANDED)
        again = self._plan.again_at
        due = again is not None and words >= again and (paragraph or words >= again + self._plan.slack)
        if not due and not (paragraph and self.edited):
            return Decision.CONTINUE
        self.new_paragraph = paragraph
        return Decision.AGAIN

    def _would_exceed(self, size: int) -> bool:
        """Whether the first `size` characters of the ready text would make the story too long."""
        if not self.length.by_sentence(self.words + len(self._ready)):
            return False  # a character is a word at most, so this is far away
        words = self.words + count_words(self._ready[:size])
        if self.length.passed(self._began_at):  # the writer added so much; the current sentence may still end
            return words > self._began_at + _LAST_SENTENCE
        return self.length.passed(words)

    def _too_long(self) -> Decision:
        """The next sentence is too long: end before it, try another one, or finally cut it."""
        whole = self._ends_in_sentence()
        if whole and self.length.accepts_end(self.words):
            return self._over(Ending.LANDED)
        self.sentence_tries += 1
        if self.sentence_tries <= _TRIES_FOR_A_SENTENCE:
            return Decision.AGAIN
        if whole and self.length.kept(self.words):
            return self._over(Ending.LANDED)
        self._release(end_of_word(self._ready, self.length.most_words - self.words))
        return self._over(Ending.CUT)

    def _finished(self, *, by_itself: bool) -> Decision:
        """The model ended its turn, or the token limit was reached."""
        if self._splitter.thinking:
            if by_itself:  # it planned, but did not write
                self._append(Channel.THINKING, self._tidy[Channel.THINKING].end())
                self.thought_enough = True
            return Decision.AGAIN
        if not by_itself:
            return Decision.AGAIN
        self._ready += (last := self._tidy[Channel.STORY].end())
        self._guard.add(last)
        if self._guard.looping:
            return self._looped()
        if self._would_exceed(len(self._ready)):
            return self._too_long()
        self._release(len(self._ready))
        if self.length.accepts_end(self.words):
            return self._over(Ending.LANDED if self._plan.landing else Ending.ENDED)
        self.new_paragraph = bool(self.text.strip())
        return Decision.AGAIN

    def _looped(self) -> Decision:
        """Drop the repetition, and try another sample from before it."""
        self._loops.append(self.words)
        if self.recent_loops(_LOOPS_COUNT) > _LOOPS_BEFORE_GIVING_UP:
            self.notice = "The model kept repeating itself, so the story was stopped here. Continue lets it try again."
            return Decision.FAILED
        return Decision.AGAIN

    def _over(self, ending: Ending) -> Decision:
        self.ending = ending
        return Decision.OVER

    def recent_loops(self, within: int = _LOOPS_LINGER) -> int:
        """Loops in the last `within` words of the story."""
        return sum(at >= self.words - within for at in self._loops)

    def enough_thinking(self, context: int) -> bool:
        """Whether this answer has planned for so long that the model must be asked to begin."""
        planned = len(self._logs[Channel.THINKING].text) - self._began_thinking_at
        if self._splitter.thinking and planned > _THINKING_SHARE * context * 3:
            self.thought_enough = True
        return self._splitter.thinking and self.thought_enough

    @property
    def _paragraph(self) -> str:
        story = self._logs[Channel.STORY].text
        return story[story.rfind("\n\n") + 1 :]

    def _ends_in_sentence(self) -> bool:
        story = self._logs[Channel.STORY].text
        return any(end.at == 0 for end in sentence_ends(story, "\n\nX"))

    # Writing

    def _release(self, size: int) -> None:
        text, self._ready = self._ready[:size], self._ready[size:]
        self._append(Channel.STORY, text)
        if text:
            self.new_paragraph = False
            self._guarded = len(self._guard) - count_words(self._ready)

    def _append(self, channel: Channel, text: str) -> None:
        if not text:
            return
        log = self._logs[channel]
        log.text += text
        words = self._count.add(text) if channel is Channel.STORY else self.words
        if self._order and self._order[-1][0] is channel:
            self._order.pop()
        self._order.append((channel, len(log.text), words))

    @property
    def has_news(self) -> bool:
        return bool(self._order)

    def take(self, state: str = "running") -> tuple[GenerationRow, list[ChunkRow], list[int]]:
        """The row and the chunks of the next append, and the words of the story after each chunk."""
        before = self.seq
        chunks: list[ChunkRow] = []
        words: list[int] = []
        for channel, length, count in self._order:
            log = self._logs[channel]
            self.seq += 1
            chunks.append(ChunkRow(self.id, self.seq, channel.value, log.taken, log.text[log.taken : length]))
            words.append(count)
            log.taken = length
        self._order.clear()
        ending = self.ending.value if state == "done" else ""
        row = GenerationRow(
            self.id, self.attempt, before, self.seq, self._logs[Channel.STORY].taken, self._logs[Channel.THINKING].taken,
            self.words, state, ending, self.notice,
        )  # fmt: skip
        return row, chunks, words
