"""Judgements of violations: access, order, and that each is stored once and can be undone."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from scipy.stats import binomtest

from tests.cast import PRINCIPLE, TEXTS
from tests.writer.editorial.test_acts import do
from tests.writer.editorial.test_store_violations import stored
from training.common.records import Principle as Record
from writer.accounts.models import User
from writer.accounts.operations.delete_account import delete_account
from writer.editorial.models import Act, Pair, PairSource, PrincipleVersion, Violation
from writer.editorial.operations.act import undo
from writer.editorial.operations.freeze import brief_of, take_of
from writer.editorial.operations.save_principle import new_principle, save_principle
from writer.editorial.operations.set_state import set_state
from writer.editorial.operations.share import share
from writer.editorial.violations import acceptance, next_violation, violation_for, waiting_violations, wilson
from writer.refusals import Missing, NotNow, Refused
from writer.stories.operations.delete_story import delete_story

pytestmark = pytest.mark.django_db
SignIn = Callable[..., Client]
OTHER = PRINCIPLE.model_copy(update={"key": "no-moral", "name": "End without a moral"})


def judged(by: User, on: Violation, state: str = "accepted", op_id: str | None = None, **more: str) -> Act:
    return do(by, op_id, kind="judge_violation", violation=on.pk, state=state, **more)


def fresh(violation: Violation) -> Violation:
    return Violation.objects.get(pk=violation.pk)


def next_for(by: User, *keys: str) -> Violation | None:
    return next_violation(by, [one for one in acceptance(by) if not keys or one.key in keys])


# Acts


def test_accepted_and_taken_back(violation: Violation, editor: User) -> None:
    judged(editor, violation, op_id="a")
    judged(editor, violation, op_id="a")
    found = fresh(violation)
    assert (found.state, found.by, found.judged is not None) == ("accepted", editor, True)
    assert Act.objects.count() == 1
    undo(by=editor, op_id="a")
    undo(by=editor, op_id="a")
    found = fresh(violation)
    assert (found.state, found.by, found.judged) == ("waiting", None, None)
    judged(editor, violation, "rejected", reason="awkward")
    assert fresh(violation).state == "rejected"
    undo(by=editor, op_id="a")
    assert fresh(violation).state == "rejected", "an old undoing does not take back what came later"


def test_rejected_for_a_reason(violation: Violation, editor: User) -> None:
    judged(editor, violation, "rejected", op_id="a", reason="other", note="  It is a\nquote. ")
    found = fresh(violation)
    assert (found.state, found.reason, found.note) == ("rejected", "other", "It is a quote.")
    undo(by=editor, op_id="a")
    assert (fresh(violation).reason, fresh(violation).note) == ("", "")


def test_mended_in_ones_own_words(violation: Violation, editor: User) -> None:
    judged(editor, violation, "mended", op_id="a", mended="Something shone.\r\n\r\n\r\nBrightly.\n")
    found = fresh(violation)
    assert (found.state, found.mended) == ("mended", "Something shone.\n\nBrightly.")
    assert found.worse == "The lamp was lit, as always.", "what the teacher wrote stays"
    undo(by=editor, op_id="a")
    assert (fresh(violation).state, fresh(violation).mended) == ("waiting", "")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"state": "rejected"}, "Choose a reason"),
        ({"state": "rejected", "reason": "charm"}, "Choose a reason"),
        ({"state": "rejected", "reason": "other"}, "write a note"),
        ({"state": "rejected", "reason": "awkward", "note": "x" * 501}, "500"),
        ({"state": "mended"}, "What should the worse passage be"),
        ({"state": "mended", "mended": " \n\n "}, "What should the worse passage be"),
        ({"state": "mended", "mended": "The lamp was lit, as always.\n"}, "is unchanged"),
        ({"state": "mended", "mended": "The lamp was lit at six."}, "the good passage"),
        ({"state": "mended", "mended": "\x07"}, "control character"),
        ({"state": "mended", "mended": "x" * 20_001}, "20,000"),
    ],
)
def test_a_verdict_that_cannot_be(violation: Violation, editor: User, said: dict[str, str], told: str) -> None:
    with pytest.raises(Refused, match=told):
        judged(editor, violation, **said)
    assert fresh(violation).state == "waiting"
    assert not Act.objects.exists()


def test_the_second_of_two_is_told(violation: Violation, editor: User, admin: User) -> None:
    judged(editor, violation)
    with pytest.raises(NotNow, match="Edna Editor judged this one while you read it"):
        judged(admin, violation, "rejected", reason="awkward")
    with pytest.raises(NotNow, match="Undo that"):
        judged(editor, violation, "rejected", reason="awkward")
    assert (fresh(violation).state, fresh(violation).by) == ("accepted", editor)
    assert Act.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_at_the_same_moment(violation: Violation, editor: User, admin: User) -> None:
    told = []

    def second() -> None:
        try:
            judged(admin, violation, "rejected", reason="awkward")
        except NotNow as refusal:
            told.append(refusal.detail)
        finally:
            connection.close()

    thread = threading.Thread(target=second)
    with transaction.atomic():
        judged(editor, violation)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive(), "it waits to hear what the first one said"
    thread.join(10)
    assert told == ["Edna Editor judged this one while you read it. Your judgement was not stored."]
    assert fresh(violation).state == "accepted"


def test_nobody_takes_back_what_another_said(violation: Violation, editor: User, admin: User) -> None:
    judged(editor, violation, op_id="a")
    with pytest.raises(Missing):
        undo(by=admin, op_id="a")
    assert fresh(violation).state == "accepted"


def test_what_the_principle_asks_no_more(violation: Violation, editor: User, admin: User) -> None:
    set_state(by=admin, key=PRINCIPLE.key, state="retired")
    with pytest.raises(NotNow, match="no longer in force"):
        judged(editor, violation)
    set_state(by=admin, key=PRINCIPLE.key, state="in_force")
    record = PRINCIPLE.model_copy(update={"explanation": "Name no things."})
    save_principle(by=admin, record=record, base=1, meaning_changed=True, why="The opposite.")
    with pytest.raises(NotNow, match="has a new meaning"):
        judged(editor, violation)
    assert fresh(violation).state == "waiting"


def test_undone_after_the_text_is_gone(offered: Violation, editor: User, owner: User) -> None:
    judged(editor, offered, op_id="a")
    story_id = offered.take.brief.story_id
    assert story_id
    delete_story(user=owner, story_id=story_id)
    with pytest.raises(NotNow, match="text has been deleted"):
        undo(by=editor, op_id="a")
    with pytest.raises(Missing):
        judged(editor, offered)


def test_what_an_editor_said_stays_when_they_go(violation: Violation, editor: User) -> None:
    judged(editor, violation)
    delete_account(user=editor)
    assert (fresh(violation).state, fresh(violation).by) == ("accepted", None)


def test_over_the_api(violation: Violation, editor: User, owner: User, script: Callable[[User], Client]) -> None:
    said = {"kind": "judge_violation", "violation": violation.pk, "state": "accepted"}
    assert script(owner).put("/api/acts/a1", said, "application/json").status_code == 404
    client = script(editor)
    for wrong in ({"state": "waiting"}, {"violation": 0}, {"charm": 1}):
        assert client.put("/api/acts/a1", said | wrong, "application/json").status_code == 422
    assert client.put("/api/acts/a1", said, "application/json").status_code == 200
    assert client.put("/api/acts/a2", said, "application/json").status_code == 409
    assert client.delete("/api/acts/a1").json()["undone"]
    assert fresh(violation).state == "waiting"


# Who sees which, and in what order


def test_only_what_editors_may_read(offered: Violation, editor: User, owner: User, stranger: User) -> None:
    assert next_for(editor) == offered
    for person in (owner, stranger):
        assert not waiting_violations(person).exists()
        with pytest.raises(Missing):
            violation_for(person, offered.pk)
    story_id = offered.take.brief.story_id
    assert story_id
    share(by=owner, story_id=story_id, consent="reading", given=False)
    assert next_for(editor) is None
    with pytest.raises(Missing):
        judged(editor, offered)
    share(by=owner, story_id=story_id, consent="reading", given=True)
    share(by=owner, story_id=story_id, consent="training", given=False)
    assert next_for(editor) is None, "nobody is asked about what no data set would take"
    assert violation_for(editor, offered.pk) == offered


def test_a_text_of_an_arena_is_not_shown(violation: Violation, pair: Pair, editor: User) -> None:
    assert next_for(editor) == violation
    Pair.objects.update(source=PairSource.ARENA)
    assert next_for(editor) is None


def test_the_rarest_principle_first_and_then_the_oldest(pair: Pair, version: PrincipleVersion, editor: User) -> None:
    new_principle(by=editor, record=OTHER, state="in_force")
    first, second, third = stored(pair.first, "One.", "Two.", "Three.")
    other, last = stored(pair.first, "Four.", "Five.", principle=OTHER.key)
    assert next_for(editor) == first
    judged(editor, first, "rejected", reason="awkward")
    assert next_for(editor) == second, "what was rejected is of no use"
    judged(editor, second, "mended", mended="Two and a half.")
    assert next_for(editor) == other
    assert next_for(editor, PRINCIPLE.key) == third
    judged(editor, other)
    assert next_for(editor) == third, "as many of both, and this one is older"
    judged(editor, third)
    judged(editor, last)
    assert next_for(editor) is None


def test_what_is_of_an_older_meaning_does_not_wait(violation: Violation, admin: User) -> None:
    record = PRINCIPLE.model_copy(update={"name": "One thing"})
    save_principle(by=admin, record=record, base=1, meaning_changed=False)
    assert next_for(admin) == violation, "a mended comma leaves everything as it is"
    judged(admin, violation, op_id="a")
    assert acceptance(admin)[0].accepted == 1
    save_principle(by=admin, record=PRINCIPLE, base=2, meaning_changed=True, why="More.")
    assert acceptance(admin) == []
    undo(by=admin, op_id="a")
    assert next_for(admin) is None


def test_how_many_were_good(pair: Pair, version: PrincipleVersion, editor: User, admin: User) -> None:
    made = stored(pair.first, *(f"It was {number}." for number in range(10)))
    for number, one in enumerate(made[:9]):
        if number < 5:
            judged(admin if number % 2 else editor, one)
        elif number == 5:
            judged(editor, one, "mended", mended="It was nothing.")
        else:
            judged(editor, one, "rejected", reason="awkward" if number < 8 else "not_broken")
    new_principle(by=editor, record=OTHER, state="in_force")
    stored(pair.first, "Waits.", principle=OTHER.key)
    unseen, found = acceptance(editor)
    assert (found.waiting, found.accepted, found.mended, found.rejected, found.usable) == (1, 5, 1, 3, 6)
    assert found.reasons == [("Nobody would write it so", 2), ("It does not break the principle", 1)]
    assert (found.share, found.between) == (56, (27, 81))
    assert (unseen.key, unseen.waiting, unseen.share) == (OTHER.key, 1, None)
    assert [one.key for one in acceptance(editor, PRINCIPLE.key)] == [PRINCIPLE.key]


@pytest.mark.parametrize(("right", "of"), [(0, 1), (1, 1), (5, 9), (0, 40), (40, 40), (333, 1000)])
def test_the_interval_is_that_of_scipy(right: int, of: int) -> None:
    known = binomtest(right, of).proportion_ci(method="wilson")
    assert wilson(right, of) == pytest.approx((known.low, known.high), abs=1e-6)


def test_of_nothing_nothing_is_known() -> None:
    assert wilson(0, 0) == (0, 1)


# Pages


def post(client: Client, violation: Violation, state: str = "accepted", op_id: str = "a", **more: str) -> Any:
    return client.post(f"/desk/violations/{violation.pk}", {"state": state, "op_id": op_id} | more)


def test_who_gets_the_pages(violation: Violation, owner: User, editor: User, admin: User, sign_in: SignIn) -> None:
    addresses = ("/desk/violations", f"/desk/violations/{violation.pk}")
    for address in addresses:
        assert sign_in(None).get(address).status_code == 302
        assert sign_in(owner).get(address).status_code == 404
        assert sign_in(editor).get(address).status_code == 200
        assert sign_in(admin).get(address).status_code == 200
    assert post(sign_in(owner), violation).status_code == 404
    assert sign_in(None).post("/desk/violations/undo").status_code == 302
    assert sign_in(owner).post("/desk/violations/undo").status_code == 404
    assert sign_in(editor, csrf=True).post(addresses[1], {"state": "accepted", "op_id": "a"}).status_code == 403
    assert sign_in(editor).get("/desk/violations/undo").status_code == 405
    assert fresh(violation).state == "waiting"


def test_what_the_page_shows(pair: Pair, version: PrincipleVersion, editor: User, sign_in: SignIn) -> None:
    stored(
        pair.first,
        "Nobody ever came up the stairs.",
        passage="Nobody came up the stairs.",
        because="“Ever” adds nothing.",
    )
    page = sign_in(editor).get("/desk/violations").content.decode()
    assert re.search(r"Nobody <ins>.*ever .*</ins>came up the stairs\.</div>", page)
    assert '<p class="context">The lamp was lit at six.</p>' in page
    assert '<p class="context">The keeper wrote that down.</p>' in page
    for words in (
        PRINCIPLE.name,
        PRINCIPLE.explanation,
        "meaning 1",
        "80 % of the words",
        "run 12",
        "“Ever” adds nothing.",
    ):
        assert words in page, words
    assert "The Lamp" in page


def test_the_first_paragraph_has_what_was_given_before_it(
    pair: Pair, version: PrincipleVersion, editor: User, sign_in: SignIn
) -> None:
    given = brief_of(None, title="The Lamp", premise="A keeper.", target=600, given="It was dusk.\n\nIt rained.")
    (found,) = stored(take_of(given, TEXTS[0]), "Other.")
    context = sign_in(editor).get(f"/desk/violations/{found.pk}").context
    assert (context["before"], context["after"]) == ("It rained.", "Nobody came up the stairs.")


def test_one_after_the_other_and_back(pair: Pair, version: PrincipleVersion, editor: User, sign_in: SignIn) -> None:
    first, second = stored(pair.first, "One.", "Two.")
    client = sign_in(editor)
    assert client.get("/desk/violations").context["violation"] == first
    assert client.get("/desk/violations").context["last"] is None
    assert post(client, first, op_id="a")["Location"] == "/desk/violations"
    assert post(client, first, op_id="a")["Location"] == "/desk/violations", "pressed twice"
    page = client.get("/desk/violations")
    assert page.context["violation"] == second
    act, said = page.context["last"]
    assert (act.op_id, said) == ("a", first)
    assert post(client, second, "rejected", op_id="b", reason="breaks_more")["Location"] == "/desk/violations"
    page = client.get("/desk/violations")
    assert "Nothing is waiting here" in page.content.decode()
    assert page.context["last"][0].op_id == "b"
    back = client.post("/desk/violations/undo", {"op_id": "b"})
    assert back["Location"] == f"/desk/violations/{second.pk}"
    assert client.get(back["Location"]).context["last"][0].op_id == "a"
    client.post("/desk/violations/undo", {"op_id": "a"})
    assert [fresh(one).state for one in (first, second)] == ["waiting", "waiting"]
    assert client.post("/desk/violations/undo", {"op_id": "z"})["Location"] == "/desk/violations"


def test_the_principle_that_was_asked_for_stays(
    pair: Pair, version: PrincipleVersion, editor: User, sign_in: SignIn
) -> None:
    new_principle(by=editor, record=OTHER, state="in_force")
    first, second = stored(pair.first, "One.", "Two.")
    (other,) = stored(pair.first, "Three.", principle=OTHER.key)
    client = sign_in(editor)
    assert client.get(f"/desk/violations?principle={OTHER.key}").context["violation"] == other
    said = {"principle": PRINCIPLE.key}
    asked = f"?principle={PRINCIPLE.key}"
    assert post(client, first, op_id="a", **said)["Location"] == f"/desk/violations{asked}"
    assert client.get(f"/desk/violations{asked}").context["violation"] == second
    back = client.post("/desk/violations/undo", {"op_id": "a"} | said)
    assert back["Location"] == f"/desk/violations/{first.pk}{asked}"
    for nonsense in ("?principle=%00%22%3E<b>", "?principle=another"):
        page = client.get(f"/desk/violations{nonsense}")
        assert page.context["violation"] is None
        assert "Nothing is waiting for this principle" in page.content.decode()
        assert '"><b>' not in page.content.decode()


def test_what_was_typed_is_not_lost(violation: Violation, editor: User, admin: User, sign_in: SignIn) -> None:
    client = sign_in(editor)
    page = post(client, violation, "rejected", reason="other", note="")
    assert page.status_code == 422
    assert page.context["errors"].keys() == {"note"}
    assert '<details id="reject" open>' in page.content.decode()
    page = post(client, violation, "mended", mended="bell \x07")
    assert (page.status_code, page.context["errors"].keys()) == (422, {"mended"})
    judged(admin, violation)
    page = post(client, violation, "mended", mended="My own wording, long thought of.")
    assert page.status_code == 409
    text = page.content.decode()
    assert "Adam Admin judged this one while you read it" in text
    assert "My own wording, long thought of." in text
    assert fresh(violation).mended == ""


def test_what_is_not_there_any_more(offered: Violation, editor: User, owner: User, sign_in: SignIn) -> None:
    client = sign_in(editor)
    assert post(client, offered, "loved").status_code == 302
    story_id = offered.take.brief.story_id
    assert story_id
    share(by=owner, story_id=story_id, consent="reading", given=False)
    assert client.get(f"/desk/violations/{offered.pk}").status_code == 404
    answer = client.post(f"/desk/violations/{offered.pk}", {"state": "accepted", "op_id": "a"}, follow=True)
    assert "is not here any more" in answer.content.decode()
    assert not Act.objects.exists()
    assert client.get("/desk/violations/99999999999999999999").status_code == 404


def test_html_is_text(pair: Pair, version: PrincipleVersion, editor: User, sign_in: SignIn) -> None:
    hostile = "</ins><script>alert(1)</script><img src=x onerror=alert(2)>"
    text = f"Before {hostile}\n\nGood </del><script>alert(3)</script>\n\nAfter {hostile}"
    take = take_of(brief_of(None, title=hostile, premise="A keeper.", target=600), text)
    passage = text.split("\n\n")[1]
    (found,) = stored(take, hostile, passage=passage, because=f"{hostile}{{{{ 7|add:7 }}}}")
    client = sign_in(editor)
    pages = [client.get("/desk/violations")]
    pages.append(post(client, found, "rejected", reason="other", note=hostile * 10))
    post(client, found, "mended", mended=f"{hostile} And more.")
    pages.append(client.get(f"/desk/violations/{found.pk}"))
    for page in pages:
        shown = page.content.decode()
        assert "<script>alert" not in shown
        assert "<img src=x" not in shown
        assert "</del><script" not in shown
        assert shown.count("&lt;img src=x onerror=alert(2)&gt;") >= 5, "title, before, worse, because, after"
        assert "{{ 7|add:7 }}" in shown


def test_what_is_gone_is_text_too(version: PrincipleVersion, editor: User, sign_in: SignIn) -> None:
    brief = brief_of(None, title="The Lamp", premise="A keeper.", target=600)
    stored(take_of(brief, "<b>lit"), "Dark")
    shown = sign_in(editor).get("/desk/violations").content.decode()
    assert "<b>lit" not in shown
    assert "&lt;b&gt;lit" in shown


def test_the_desk_says_how_many_wait(violation: Violation, editor: User, sign_in: SignIn) -> None:
    client = sign_in(editor)
    assert 'href="/desk/violations"' in client.get("/desk/").content.decode()
    judged(editor, violation)
    assert 'href="/desk/violations"' not in client.get("/desk/").content.decode()


def test_the_page_of_the_principle(violation: Violation, owner: User, editor: User, sign_in: SignIn) -> None:
    judged(editor, violation, "rejected", reason="good_is_bad")
    address = f"/constitution/{PRINCIPLE.key}"
    page = sign_in(editor).get(address).content.decode()
    assert "0 accepted, 0 mended, 1 rejected: 0 % accepted" in page
    assert "The passage broke the principle already" in page
    stored(violation.take, "Two.")
    assert f'href="/desk/violations?principle={PRINCIPLE.key}"' in sign_in(editor).get(address).content.decode()
    assert "Violations" not in sign_in(owner).get(address).content.decode()


def test_no_query_a_row(pair: Pair, version: PrincipleVersion, editor: User, sign_in: SignIn) -> None:
    client = sign_in(editor)

    def queries() -> int:
        with CaptureQueriesContext(connection) as caught:
            assert client.get("/desk/violations").status_code == 200
        return len(caught)

    def more(key: str, number: int) -> None:
        record: Record = PRINCIPLE.model_copy(update={"key": key, "name": key})
        new_principle(by=editor, record=record, state="in_force")
        made = stored(pair.first, *(f"{key} {index}." for index in range(number)), principle=key)
        judged(editor, made[0])

    more("one", 2)
    few = queries()
    for number in range(8):
        more(f"more-{number}", 4)
    assert queries() == few
