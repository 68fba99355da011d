"""The narrator's SQL: claim, load, append. docs/protocol.md specifies their guarantees.

**The fence** (`workers.lease`) is in the writing statement: an update names its attempt, and the row must still be running with
it. The same statement inserts chunks only for rows that were updated, so that there is nothing to roll back. **An append may be
sent twice**: the row states where it expects the log to end (`before`), so the second append updates nothing; `last_seq` then
shows whether the first was written.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, LiteralString, TypeVar
from uuid import UUID

import msgspec
import psycopg
import structlog
from psycopg.rows import namedtuple_row

from workers.lease import CLAIMED, EXPIRED, HELD

log = structlog.get_logger()
T = TypeVar("T")


class GenerationRow(msgspec.Struct, frozen=True):
    """The new state of one generation in an append."""

    id: UUID
    attempt: int
    before: int
    seq: int
    story_chars: int
    thinking_chars: int
    words: int
    state: str = "running"
    ending: str = ""
    notice: str = ""


class ChunkRow(msgspec.Struct, frozen=True):
    id: UUID
    seq: int
    channel: str
    start: int
    text: str


@dataclass(frozen=True)
class Answer:
    """Fields of a generation after a successful append."""

    wish: str
    head: UUID | None


_APPEND: LiteralString = f"""
WITH rows AS (
    SELECT * FROM json_to_recordset(%(rows)s::json) AS r(id uuid, attempt int, before int, seq int, story_chars int,
        thinking_chars int, words int, state text, ending text, notice text)
), fenced AS (
    UPDATE stories_generation g
    SET last_seq = r.seq, story_chars = r.story_chars, thinking_chars = r.thinking_chars, words = r.words,
        state = r.state, ending = r.ending, notice = r.notice,
        failures = CASE WHEN r.seq > r.before THEN 0 ELSE g.failures END,
        wish = CASE WHEN r.state = 'running' THEN g.wish ELSE '' END,
        lease_until = CASE WHEN r.state = 'running' THEN clock_timestamp() + %(lease)s * interval '1 second' END,
        finished = CASE WHEN r.state IN ('done', 'stopped', 'failed') THEN clock_timestamp() END
    FROM rows r, stories_story s
    WHERE g.id = r.id AND {HELD} AND g.last_seq = r.before AND s.id = g.story_id
    RETURNING g.id, g.attempt, g.wish, s.head_id
), written AS (
    INSERT INTO stories_chunk (generation_id, seq, channel, start, attempt, text)
    SELECT c.id, c.seq, c.channel, c.start, fenced.attempt, c.text
    FROM json_to_recordset(%(chunks)s::json) AS c(id uuid, seq int, channel text, start int, text text)
    JOIN fenced ON fenced.id = c.id
)
SELECT id, wish, head_id FROM fenced
"""  # noqa: S608

_WAS_WRITTEN: LiteralString = """
SELECT g.id, g.wish, s.head_id
FROM json_to_recordset(%(rows)s::json) AS r(id uuid, attempt int, seq int, state text)
JOIN stories_generation g ON g.id = r.id AND g.attempt = r.attempt AND g.last_seq = r.seq AND g.state = r.state
JOIN stories_story s ON s.id = g.story_id
"""

# Narrators claim one after the other, so that together they never exceed the limit of stories. The lock is a statement of
# its own, so that the next statement counts what the previous narrator has committed.
_TURN: LiteralString = "SELECT pg_advisory_xact_lock(hashtext('longhand claim'))"
_CLAIM: LiteralString = f"""
WITH room AS MATERIALIZED (
    SELECT greatest(least(%(streams)s - count(*), %(most)s), 0) AS room
    FROM stories_generation WHERE state = 'running' AND lease_until >= clock_timestamp()
), orphaned AS MATERIALIZED (
    SELECT id FROM stories_generation WHERE {EXPIRED}
    ORDER BY lease_until LIMIT (SELECT room FROM room) FOR UPDATE SKIP LOCKED
), queued AS MATERIALIZED (
    SELECT id FROM stories_generation WHERE state = 'queued'
    ORDER BY created LIMIT (SELECT room - (SELECT count(*) FROM orphaned) FROM room) FOR UPDATE SKIP LOCKED
)
UPDATE stories_generation g
SET {CLAIMED}, holder = %(holder)s, started = coalesce(started, statement_timestamp()), finished = NULL, notice = '',
    failures = CASE WHEN g.state = 'queued' THEN 0 ELSE least(failures + 1, 1000) END
WHERE id IN (SELECT id FROM orphaned UNION ALL SELECT id FROM queued)
RETURNING g.id, g.attempt
"""  # noqa: S608

_LOAD: LiteralString = """
SELECT g.id, g.story_id, g.attempt, g.target_words, g.sampling, g.wish, g.failures, g.last_seq,
    m.id AS model, m.served_name, m.tokenizer, s.title, s.premise, r.id AS head, r.text, r.absorbed,
    coalesce((SELECT string_agg(c.text, '' ORDER BY c.seq) FROM stories_chunk c
        WHERE c.generation_id = g.id AND c.channel = 'story'), '') AS story,
    coalesce((SELECT string_agg(c.text, '' ORDER BY c.seq) FROM stories_chunk c
        WHERE c.generation_id = g.id AND c.channel = 'thinking'), '') AS thinking
FROM stories_generation g
JOIN stories_story s ON s.id = g.story_id
JOIN stories_revision r ON r.id = s.head_id
JOIN stories_modelversion m ON m.id = g.model_id
WHERE g.id = ANY(%(ids)s)
"""

# The site's own model has no hashes here, and its server's address is a setting; its url is the empty string.
_PLACE: LiteralString = """
SELECT CASE WHEN m.sha256 = '' THEN '' WHEN s.state = 'ready' THEN s.url END AS url
FROM stories_modelversion m LEFT JOIN studio_serving s ON s.version_id = m.id WHERE m.id = %(version)s
"""

_RELEASE: LiteralString = f"""
UPDATE stories_generation g SET lease_until = clock_timestamp(), failures = greatest(g.failures - 1, 0)
FROM json_to_recordset(%(rows)s::json) AS r(id uuid, attempt int)
WHERE g.id = r.id AND {HELD}
"""  # noqa: S608

_encode = msgspec.json.Encoder().encode


class Database:
    """A connection that reconnects: a statement is sent again until PostgreSQL answers it."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self._parameters = parameters
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._turn = asyncio.Lock()

    async def _run(self, work: Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]]) -> T:
        pause = 0.05
        async with self._turn:
            while True:
                try:
                    if self._connection is None:
                        self._connection = await psycopg.AsyncConnection.connect(
                            **self._parameters, autocommit=True, row_factory=namedtuple_row, connect_timeout=5
                        )
                    return await work(self._connection)
                except psycopg.OperationalError as error:
                    # Timeouts, too: a server that shuts down ends our statement itself.
                    log.warning("postgres_away", error=str(error).strip().split("\n")[0], again_in=pause)
                    await self.close()
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, 1.0)

    async def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with contextlib.suppress(psycopg.Error):
                await connection.close()

    async def fetch(self, statement: LiteralString, before: LiteralString = "", **values: Any) -> list[Any]:
        """Run one statement, or `before` and the statement in one transaction."""

        async def work(connection: psycopg.AsyncConnection[Any]) -> list[Any]:
            if not before:
                cursor = await connection.execute(statement, values, prepare=True)
                return await cursor.fetchall() if cursor.description else []
            async with connection.transaction():
                await connection.execute(before)
                return await (await connection.execute(statement, values, prepare=True)).fetchall()

        return await self._run(work)


class Store:
    """The narrator's database. It has two connections, so that an append never waits until a long log is read."""

    def __init__(self, parameters: dict[str, Any], *, holder: str, lease: float, streams: int) -> None:
        self._writes, self._reads = Database(parameters), Database(parameters)
        self.holder, self.lease, self.streams = holder, lease, streams

    async def close(self) -> None:
        await self._writes.close()
        await self._reads.close()

    async def claim(self, most: int) -> list[UUID]:
        """Claim stories to write: first those with an expired lease, then the oldest in the queue."""
        values = {"streams": self.streams, "most": most, "holder": self.holder, "lease": self.lease}
        rows = await self._reads.fetch(_CLAIM, before=_TURN, **values)
        return [row.id for row in rows]

    async def load(self, ids: list[UUID]) -> list[Any]:
        return await self._reads.fetch(_LOAD, ids=ids)

    async def place(self, version: int) -> str | None:
        """The address of the server that serves a model version now, empty for the site's own server; None if no server does."""
        rows = await self._reads.fetch(_PLACE, version=version)
        return rows[0].url if rows else None

    async def head(self, story: UUID) -> Any | None:
        rows = await self._reads.fetch(
            "SELECT r.id AS head, r.text, r.absorbed FROM stories_story s JOIN stories_revision r ON r.id = s.head_id"
            " WHERE s.id = %(story)s",
            story=story,
        )
        return rows[0] if rows else None

    async def append(self, rows: Iterable[GenerationRow], chunks: Iterable[ChunkRow]) -> dict[UUID, Answer]:
        """Append the new text of all stories. A row that is missing in the answer has been lost to another narrator."""
        rows = list(rows)
        found = await self._writes.fetch(
            _APPEND, rows=_encode(rows).decode(), chunks=_encode(list(chunks)).decode(), lease=self.lease
        )
        answers = {row.id: Answer(row.wish, row.head_id) for row in found}
        if missing := [row for row in rows if row.id not in answers]:
            found = await self._writes.fetch(_WAS_WRITTEN, rows=_encode(missing).decode())
            answers |= {row.id: Answer(row.wish, row.head_id) for row in found}
        return answers

    async def release(self, rows: Iterable[GenerationRow]) -> None:
        """Release stories for the next narrator. They keep their place, since running stories are claimed first."""
        await self._writes.fetch(_RELEASE, rows=_encode(list(rows)).decode())
