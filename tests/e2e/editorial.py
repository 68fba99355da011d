"""Pairs, votes and offered stories in a stack's database, and the pair page as a page object."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from playwright.sync_api import BrowserContext, Locator, ViewportSize, expect

from tests.e2e.browser import WATCH, Desk
from tests.e2e.stack import Stack

WIDE: ViewportSize = {"width": 1200, "height": 850}

_PAIRS = """
import json
from writer.accounts.models import User
from django.db import connection
from writer.editorial.models import Pair, PairSource, Reading, Take
from writer.editorial.operations.freeze import brief_of, take_of
from writer.stories.models import ModelVersion
given = json.loads({given!r})
Reading.objects.filter(state="open").delete()
Pair.objects.update(wanted=False)  # what earlier tests left over waits no more
models = [ModelVersion.objects.get_or_create(name=n, defaults={{"served_name": "org/" + n}})[0] for n in given["models"]]
made = []
for number, texts in enumerate(given["texts"]):
    brief = brief_of(None, title=given["title"].format(number + 1), premise=given["premise"], target=given["target"], given=given["given"])
    takes = [take_of(brief, text) for text in texts]
    with connection.cursor() as cursor:  # takes never change, but no generation is at hand that these come from
        cursor.execute("ALTER TABLE editorial_take DISABLE TRIGGER USER")
        for take, model in zip(takes, models):
            Take.objects.filter(pk=take.pk).update(model=model)
        cursor.execute("ALTER TABLE editorial_take ENABLE TRIGGER USER")
    made.append(Pair.objects.create(brief=brief, first=takes[0], second=takes[1], source=PairSource.ASKED, overlap=given["overlap"]))
if given["begun"]:
    Reading.objects.create(pair=made[-1], editor=User.objects.get(role="editor", email="editor@longhand.test"), swapped=False)
print(json.dumps([pair.pk for pair in made]))
"""

_DISAGREEMENT = """
import json
from writer.accounts.models import User
from writer.accounts.operations.accept_invitation import make_account
from writer.editorial.acts import VoteAct
from writer.editorial.models import Pair, PrincipleVersion, Reading
from writer.editorial.operations.act import act
pair = Pair.objects.get(pk={pair})
for number, (preference, reason) in enumerate([(-1, "the lamp is kept lit"), (2, "")]):
    email = f"voter{{number}}@longhand.test"
    by = User.objects.filter(email=email).first() or make_account(email=email, name=f"Voter {{number}}", password="a heron in the reeds", role="editor")
    reading = Reading.objects.create(pair=pair, editor=by, swapped=False)
    reasons = [] if number else [PrincipleVersion.objects.filter(principle__state="in_force").order_by("pk")[0].pk]
    act(by=by, op_id=f"{pair}-{{number}}", asked=VoteAct(kind="vote", reading=reading.pk, preference=preference, reason=reason, principles=reasons))
"""

_STORED = """
import json
from writer.editorial.models import Act, Reading, Settlement, Vote
def of(vote):
    turn = -1 if vote.reading.swapped else 1
    return {{"pair": vote.pair_id, "preference": turn * vote.preference, "axes": {{k: turn * v for k, v in vote.axes.items()}},
        "reason": vote.reason, "undone": vote.undone is not None, "read": [vote.read_first, vote.read_second], "seconds": vote.seconds,
        "principles": [version.name for version in vote.reasons.all()], "reading": str(vote.reading_id)}}
mine = {{"editor__role": {role!r}}}
print(json.dumps({{
    "votes": [of(vote) for vote in Vote.objects.filter(pair__in={pairs}, by__role={role!r}).order_by("created")],
    "readings": [{{"id": str(r.pk), "pair": r.pair_id, "state": r.state, "why": r.skip_reason, "note": r.skip_note, "seconds": r.seconds,
        "seen": [r.seen_left, r.seen_right], "places": [r.place_left, r.place_right]}}
        for r in Reading.objects.filter(pair__in={pairs}, **mine).order_by("opened")],
    "acts": [{{"kind": a.kind, "undone": a.undone is not None}} for a in Act.objects.filter(**mine).order_by("at")],
    "settled": [{{"why": s.why, "words": s.words, "version": s.version and s.version.name, "removed": s.removed is not None}}
        for s in Settlement.objects.filter(pair__in={pairs}).order_by("created")],
}}))
"""


def lay_out(
    stack: Stack,
    texts: Sequence[tuple[str, str]],
    *,
    title: str = "Pair {}",
    premise: str = "A keeper alone.",
    target: int = 600,
    given: str = "",
    models: Sequence[str] = (),
    overlap: int = 3,
    begun: bool = False,
) -> list[int]:
    """Pairs of takes on briefs that are no writer's; no other pair waits any more.

    `begun`: the last one is before the editor already, the first take on the left. Otherwise chance has the sides.
    """
    asked = {
        "texts": list(texts), "title": title, "premise": premise, "target": target, "given": given, "models": list(models), "overlap": overlap, "begun": begun,
    }  # fmt: skip
    return [int(pk) for pk in json.loads(stack.run(_PAIRS.format(given=json.dumps(asked))))]


def disagree(stack: Stack, pair: int) -> None:
    """Two editors vote on it, one for each side."""
    stack.run(_DISAGREEMENT.format(pair=pair))


def stored(stack: Stack, pairs: Sequence[int], role: str = "editor") -> dict[str, Any]:
    """What the database holds of this person's judgement of these pairs. Preferences are those of the screen."""
    found: dict[str, Any] = json.loads(stack.run(_STORED.format(pairs=list(pairs), role=role)))
    return found


def prose(name: str, paragraphs: int, words: int = 60) -> list[str]:
    """Paragraphs that no other name has."""
    return [
        " ".join(f"{name}{number}w{word}" if word % 9 == 0 else ("and", "the", "lamp", "went")[word % 4] for word in range(words)) + "."
        for number in range(paragraphs)
    ]  # fmt: skip


def text(blocks: Sequence[str]) -> str:
    return "\n\n".join(blocks)


SHORT = (text(prose("left", 3)), text(prose("right", 4)))


class PairDesk(Desk):
    """One window of an editor."""

    def begin(self) -> PairDesk:
        """From the desk to the next pair."""
        self.page.goto(f"{self.stack.url}/desk/")
        self.page.get_by_role("button", name=re.compile("Next pair|Continue with the pair")).click()
        return self.there()

    def there(self) -> PairDesk:
        expect(self.page.locator("#ballot:visible, #judged:visible")).to_have_count(1)
        # A key that is pressed while the browser still changes from one page to the next goes nowhere.
        self.page.wait_for_load_state()
        self.page.wait_for_function("() => document.hasFocus()")
        return self

    def at_next(self, before: str, seconds: float = 20) -> PairDesk:
        """The page went on to another pair by itself."""
        self.page.wait_for_url(lambda url: "/desk/pairs/" in url and before not in url, timeout=seconds * 1000)
        return self.there()

    @property
    def reading(self) -> str:
        found = re.search(r"/desk/pairs/([0-9a-f-]{36})", self.page.url)
        assert found, self.page.url
        return found[1]

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    @property
    def said(self) -> Locator:
        return self.page.locator("#said")

    @property
    def left(self) -> Locator:
        return self.page.locator("#left")

    @property
    def right(self) -> Locator:
        return self.page.locator("#right")

    def scroll(self, side: str, top: float) -> None:
        self.page.evaluate("([side, top]) => { document.getElementById(side).scrollTop = top; }", [side, top])
        self.page.wait_for_timeout(150)

    def bring(self, side: str, words: str) -> None:
        """Scroll one text so that this paragraph stands in the middle of its pane."""
        self.page.evaluate(
            """([side, words]) => {
                const pane = document.getElementById(side);
                const block = [...pane.querySelectorAll(".prose > *")].find(one => one.textContent.includes(words));
                pane.scrollTop = block.offsetTop + block.offsetHeight / 2 - pane.clientHeight / 2;
            }""",
            [side, words],
        )
        self.page.wait_for_timeout(150)

    def height_of(self, side: str, words: str) -> float:
        """Where the middle of this paragraph stands in its pane, in pixels from the pane's top."""
        found: float = self.page.evaluate(
            """([side, words]) => {
                const pane = document.getElementById(side).getBoundingClientRect();
                const block = [...document.querySelectorAll(`#${side} .prose > *`)].find(one => one.textContent.includes(words)).getBoundingClientRect();
                return block.top + block.height / 2 - pane.top;
            }""",
            [side, words],
        )
        return found

    def top(self, side: str) -> float:
        found: float = self.page.evaluate("side => document.getElementById(side).scrollTop", side)
        return found


def window(context: BrowserContext, stack: Stack) -> PairDesk:
    page = context.new_page()
    page.add_init_script(WATCH)
    page.set_default_timeout(20_000)
    return PairDesk(page, stack)
