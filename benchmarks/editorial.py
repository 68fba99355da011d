"""The editors' desk with 100,000 votes and 500,000 spans: the next item, and a snapshot.

    python -m benchmarks.editorial [--miniature]

A site is started as by `make run`, and its database is filled: 40 editors, pairs of takes of about 1,000 words, three votes on each pair except
the last ones, and seven spans on each take, one in ten with a better wording. Then:

**Next item.** Editors in turn request their next pair over HTTP, and vote on it: the time from the request to the whole response, with both texts.

**Snapshot.** A snapshot of all votes and corrected passages, from the request until it is ready, made by the site's own worker.
`snapshot_queries` is the number of SQL statements for one.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx

from benchmarks.report import Measure, p95, write
from benchmarks.site import Site, running_site

EDITORS, OVERLAP, WORDS, BRIEFS = 40, 3, 1000, 100
BETTER_EVERY = 10
Rows = Iterator[tuple[Any, ...]]


def pool(rng: random.Random) -> list[str]:
    """Return texts of WORDS words in ten paragraphs. A number at the end makes each take different."""
    words = ["".join(rng.choices("aeioubdfglmnprst", k=rng.randrange(2, 9))) for _ in range(3000)]
    return ["\n\n".join(" ".join(rng.choices(words, k=WORDS // 10)) for _ in range(10)) for _ in range(200)]


class Fill:
    """Fills the database of a site with COPY, including everything that operations maintain (counters, hashes, turns)."""

    def __init__(self, votes: int, spans: int, waiting: int) -> None:
        from writer.accounts.models import User
        from writer.editorial.models import PrincipleVersion
        from writer.editorial.operations.freeze import brief_of

        self.rng = random.Random(20260101)
        self.texts = pool(self.rng)
        self.voted, self.spans = votes // OVERLAP, spans
        self.pairs = self.voted + waiting
        self.now = datetime.now(UTC)
        self.people = [
            User.objects.create_user(f"bench{number}@longhand.test", name=f"Editor {number}", role="editor").pk
            for number in range(EDITORS)
        ]
        self.versions = list(PrincipleVersion.objects.values_list("pk", flat=True))
        self.briefs = [
            brief_of(None, title=f"Brief {number}", premise="A keeper alone.", target=WORDS).pk
            for number in range(BRIEFS)
        ]
        self.turns = [
            (pair + 1, editor, UUID(int=pair * OVERLAP + turn + 1), self.rng.choice((-2, -1, -1, 1, 1, 2)))
            for pair in range(self.voted)
            for turn, editor in enumerate(self.rng.sample(self.people, OVERLAP))
        ]

    def __call__(self) -> dict[str, int]:
        from django.db import connection

        copy("take", "id brief_id text words blocks sha256 origins words_by created", self.takes())
        copy(
            "pair",
            "id brief_id first_id second_id source overlap priority votes wanted gold_because created",
            self.twos(),
        )
        columns = "id pair_id editor_id settling swapped state skip_reason skip_note place_left place_right seen_left seen_right"
        copy("reading", f"{columns} seconds opened closed", self.readings())
        columns = "pair_id reading_id by_id source preference axes reason read_first read_second seconds created"
        copy("vote", columns, self.votes())
        columns = "id take_id by_id version_id severity block start end quote before after note better created"
        copy("mark", columns, self.marks())
        with connection.cursor() as cursor:  # sequences and statistics, which a database in use would have
            for table in ("take", "pair"):
                cursor.execute(f"SELECT setval('editorial_{table}_id_seq', (SELECT max(id) FROM editorial_{table}))")
            cursor.execute("ANALYZE")
        return {"pairs": self.pairs, "takes": 2 * self.pairs, "votes": len(self.turns), "spans": self.spans}

    def takes(self) -> Rows:
        from writer.editorial.messages import completion_messages, digest

        for number in range(2 * self.pairs):
            text = f"{self.texts[number % len(self.texts)]}\n\n{number}"
            brief = self.briefs[number // 2 % BRIEFS]
            yield number + 1, brief, text, WORDS + 1, 11, digest(completion_messages(text)), "[]", "{}", self.now

    def twos(self) -> Rows:
        for number in range(self.pairs):
            brief, wanted = self.briefs[number % BRIEFS], number >= self.voted
            votes = 0 if wanted else OVERLAP
            first, second = 2 * number + 1, 2 * number + 2
            yield number + 1, brief, first, second, "asked", OVERLAP, 0, votes, wanted, "", self.now

    def readings(self) -> Rows:
        ago = self.now - timedelta(days=3)
        for pair, editor, pk, _ in self.turns:
            yield pk, pair, editor, False, False, "voted", "", "", 0, 0, "[]", "[]", 60, ago, ago

    def votes(self) -> Rows:
        ago = self.now - timedelta(days=3)
        for pair, editor, pk, preference in self.turns:
            yield pair, pk, editor, "editor", preference, "{}", "", 1, 1, 60, ago

    def marks(self) -> Rows:
        for number in range(self.spans):
            take = number % (2 * self.pairs)
            text = self.texts[take % len(self.texts)]
            start = self.rng.randrange(len(text) - 60)
            end, block = start + 30, text.count("\n\n", 0, start)
            around = text[start:end], text[max(0, start - 48) : start], text[end : end + 48]
            better = "" if number % BETTER_EVERY else "something plainer"
            editor, version = self.rng.choice(self.people), self.rng.choice(self.versions)
            yield UUID(int=number + 1), take + 1, editor, version, 2, block, start, end, *around, "", better, self.now


def copy(table: str, columns: str, rows: Iterable[tuple[Any, ...]]) -> None:
    from django.db import connection

    names = ", ".join(f'"{name}"' for name in columns.split())
    with connection.cursor() as cursor, cursor.copy(f"COPY editorial_{table} ({names}) FROM STDIN") as out:
        for row in rows:
            out.write_row(row)


def next_items(at: Site, count: int) -> list[float]:
    """Return the milliseconds from each request for a next pair to the whole response."""
    from writer.accounts.models import ApiToken, User

    editors = User.objects.filter(email__startswith="bench").order_by("pk")
    tokens = [ApiToken.issue(editor, "bench")[1] for editor in editors]
    times = []
    with httpx.Client(base_url=at.url, timeout=60) as client:
        for index in range(count):
            headers = {"Authorization": f"Bearer {tokens[index % len(tokens)]}"}
            began = time.perf_counter()
            response = client.post("/api/readings", headers=headers)
            times.append(1000 * (time.perf_counter() - began))
            reading = response.raise_for_status().json()["id"]
            vote = {"kind": "vote", "reading": reading, "preference": 1}
            client.put(f"/api/acts/bench-{index}", headers=headers, json=vote).raise_for_status()
    return times


def snapshots() -> tuple[float, int, int]:
    """Return the seconds until the site's worker has made a snapshot of everything, its SQL statements, and its rows."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from writer.accounts.models import User
    from writer.editorial.models import Making, Snapshot
    from writer.editorial.operations.make_snapshot import ask_snapshot, make_snapshot
    from writer.editorial.snapshots.query import SnapshotQuery

    began = time.perf_counter()
    asked = ask_snapshot(by=User.objects.filter(role="admin")[0], query=SnapshotQuery(most_share=0.2))
    while asked.state == Making.WAITING and time.perf_counter() - began < 600:
        time.sleep(0.1)
        asked.refresh_from_db()
    seconds = time.perf_counter() - began
    if asked.state != Making.READY:
        raise SystemExit(f"no snapshot: {asked.problem}")
    again = Snapshot.objects.create(number=asked.number + 1, kind=asked.kind, query=asked.query, described="")
    with CaptureQueriesContext(connection) as caught:
        made = make_snapshot(snapshot_id=again.pk)
    assert made is not None
    assert made.sha256 == asked.sha256, "the same judgement makes the same snapshot"
    return seconds, len(caught), made.rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--miniature", action="store_true", help="a hundredth of everything, to see whether it runs")
    arguments = parser.parse_args()
    scale, items = (100, 40) if arguments.miniature else (1, 400)
    with running_site("http://127.0.0.1:9", "") as at:
        os.environ.update(at.environment | {"DJANGO_SETTINGS_MODULE": "webapp.settings", "DEBUG": "true"})
        import django

        django.setup()
        import webapp.celery  # noqa: F401  (configures the broker for the request of a snapshot)

        facts = Fill(100_000 // scale, 500_000 // scale, items)()
        times = next_items(at, items)
        seconds, statements, rows = snapshots()
    median = statistics.median(times)
    note = f"{rows:,} rows from {facts['votes']:,} votes and {facts['spans']:,} spans, {facts['spans'] // BETTER_EVERY:,} corrected"
    measures = [
        Measure(
            "next_item_ms_p95",
            round(p95(times), 1),
            "ms",
            "lower",
            note=f"{items} requests of {EDITORS} editors in turn, over HTTP, with both texts; median {median:.1f} ms",
        ),
        Measure("snapshot_s", round(seconds, 1), "s", "lower", note=note),
        Measure(
            "snapshot_queries",
            statements,
            "statements",
            "lower",
            note="they grow with the batches (200 takes, 2,000 rows), not with the rows",
        ),
    ]
    write("editorial", measures, {"laid out": facts | {"words a take": WORDS}}, miniature=arguments.miniature)


if __name__ == "__main__":
    main()
