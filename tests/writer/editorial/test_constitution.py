"""Principles keep every wording that they had, and the file keeps every principle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, transaction
from django.test import Client

from tests.cast import PRINCIPLE
from tests.training.toy_task import TOY
from training.common.tasks import TASKS
from writer.accounts.models import User
from writer.editorial.constitution import OURS, read_constitution, record_of, write_constitution
from writer.editorial.models import Domain, Principle, PrincipleState, PrincipleVersion
from writer.editorial.operations.import_constitution import Imported, ensure_constitution, import_constitution
from writer.editorial.operations.save_principle import new_principle, save_principle
from writer.refusals import NotNow, Refused

pytestmark = pytest.mark.django_db
SignIn = Callable[..., Client]

FORM = {
    "key": "no-moral",
    "name": "End without a moral",
    "domains": ["fiction"],
    "tasks": ["write"],
    "explanation": "End in an event.",
    "follows": ["She let the ticket go.", ""],
    "follows_because": ["It happens.", ""],
    "breaks": ["She understood.", ""],
    "breaks_because": ["It is said.", ""],
}


class TestOurs:
    def test_there_are_forty_and_each_has_an_example(self) -> None:
        records = read_constitution(OURS.read_text())
        assert len(records) >= 40
        for record in records:
            assert record.examples, record.key
            for example in record.examples:
                assert example.follows != example.breaks
        assert {task for record in records for task in record.tasks} == set(TASKS)
        assert {domain for record in records for domain in record.domains} == set(Domain.values)

    def test_a_new_site_begins_with_them_once(self, db: None, editor: User) -> None:
        ensure_constitution()
        count = Principle.objects.filter(state=PrincipleState.IN_FORCE).count()
        assert count == len(read_constitution(OURS.read_text()))
        Principle.objects.exclude(key="no-moral").delete()
        ensure_constitution()
        assert Principle.objects.count() == 1, "afterwards it is the editors' own"


class TestVersions:
    def test_an_edit_makes_a_version_and_changes_none(self, version: PrincipleVersion, editor: User) -> None:
        other = PRINCIPLE.model_copy(update={"name": "One thing"})
        second = save_principle(by=editor, record=other, base=1, meaning_changed=False)
        third = save_principle(by=editor, record=PRINCIPLE, base=2, meaning_changed=True, why="It asks for more")
        assert [(one.number, one.meaning, one.name) for one in version.principle.versions.all()] == [
            (1, 1, "The particular thing"),
            (2, 1, "One thing"),
            (3, 2, "The particular thing"),
        ]
        assert record_of(second) == other
        assert Principle.objects.get().current_id == third.pk

    def test_nothing_changed_is_no_version(self, version: PrincipleVersion, editor: User) -> None:
        assert save_principle(by=editor, record=PRINCIPLE, base=1, meaning_changed=False) == version
        assert PrincipleVersion.objects.count() == 1

    def test_of_two_editors_the_second_is_told(self, version: PrincipleVersion, editor: User) -> None:
        save_principle(by=editor, record=PRINCIPLE.model_copy(update={"name": "Mine"}), base=1, meaning_changed=False)
        with pytest.raises(NotNow, match="Edna Editor changed this"):
            save_principle(by=editor, record=PRINCIPLE.model_copy(update={"name": "No"}), base=1, meaning_changed=False)

    def test_another_meaning_wants_a_reason(self, version: PrincipleVersion, editor: User) -> None:
        with pytest.raises(Refused, match="why"):
            save_principle(by=editor, record=PRINCIPLE.model_copy(update={"name": "X"}), base=1, meaning_changed=True)

    def test_a_key_is_there_once(self, version: PrincipleVersion, editor: User) -> None:
        with pytest.raises(Refused, match="already"):
            new_principle(by=editor, record=PRINCIPLE)

    def test_the_database_refuses_to_change_a_version(self, version: PrincipleVersion) -> None:
        with pytest.raises(IntegrityError), transaction.atomic():
            PrincipleVersion.objects.filter(pk=version.pk).update(explanation="Something else")


class TestFile:
    def test_what_is_written_is_read(self) -> None:
        odd = PRINCIPLE.model_copy(
            update={"explanation": 'A "quote", a \\ and\ttwo\nlines: 孔乙己 🌊, """ and \'\'\'.', "key": "odd"}
        )
        assert read_constitution(write_constitution([PRINCIPLE, odd])) == [PRINCIPLE, odd]

    def test_import_counts(self, version: PrincipleVersion, editor: User) -> None:
        records = [PRINCIPLE, PRINCIPLE.model_copy(update={"key": "new"})]
        assert import_constitution(by=editor, records=records, meaning_changed=False) == Imported(1, 0, 1)
        changed = [PRINCIPLE.model_copy(update={"explanation": "Else"})]
        assert import_constitution(by=editor, records=changed, meaning_changed=True) == Imported(0, 1, 0)
        found = Principle.objects.select_related("current").get(key=PRINCIPLE.key)
        assert (found.state, found.current.meaning) == (PrincipleState.IN_FORCE, 2)  # type: ignore[union-attr]
        assert Principle.objects.get(key="new").state == PrincipleState.DRAFT

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("[[principle", "not TOML"),
            ("x = 1", r"no \[\[principle\]\]"),
            ("principle = [1]", "principle 1"),
            ("[[principle]]\nkey = 'a'", r"principle 1 \(a\): the name is missing"),
            ("[[principle]]\nkey = 'A b'", "key"),
            (write_constitution([PRINCIPLE, PRINCIPLE]), "occurs twice"),
            (write_constitution([PRINCIPLE]).replace("fiction", "poetry"), "domains 1"),
            (write_constitution([PRINCIPLE]).replace("name =", "colour = 1\nname ="), "no field colour"),
            (write_constitution([PRINCIPLE]).replace("A tin can", "A tin\\u0000can"), "control character"),
            (write_constitution([PRINCIPLE]).replace('"Name the thing that is there."', '""'), "explanation"),
        ],
    )
    def test_what_is_wrong_is_said(self, text: str, told: str) -> None:
        with pytest.raises(Refused, match=told):
            read_constitution(text)


class TestPages:
    def test_an_editor_writes_edits_and_retires(self, editor: User, sign_in: SignIn) -> None:
        client = sign_in(editor)
        assert client.post("/constitution/new", FORM)["Location"] == "/constitution/no-moral"
        page = client.get("/constitution/no-moral").content.decode()
        assert "She let the ticket go." in page
        assert "Draft" in page
        client.post("/constitution/no-moral/state", {"state": "in_force"})
        change = FORM | {"explanation": "End in an image.", "meaning": "changed", "why": "Images too", "base": "1"}
        assert client.post("/constitution/no-moral/edit", change).status_code == 302
        assert "End in an image." in client.get("/constitution/no-moral").content.decode()
        assert "End in an event." in client.get("/constitution/no-moral?version=1").content.decode()
        assert client.get("/constitution/no-moral?version=3").status_code == 404
        assert "In force" in client.get("/constitution/").content.decode()
        exported = client.get("/constitution/constitution.toml")
        assert [record.key for record in read_constitution(exported.content.decode())] == ["no-moral"]
        client.post("/constitution/no-moral/state", {"state": "retired"})
        assert Principle.objects.get().state == PrincipleState.RETIRED

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"key": "No Moral"}, "key"),
            ({"key": ""}, "key"),
            ({"name": " "}, "name"),
            ({"name": "x" * 121}, "name"),
            ({"explanation": ""}, "explanation"),
            ({"explanation": "bell \x07"}, "explanation"),
            ({"domains": []}, "domains"),
            ({"domains": ["poetry"]}, "domains"),
            ({"tasks": []}, "tasks"),
            ({"breaks": ["", ""]}, "examples"),
        ],
    )
    def test_what_is_wrong_is_said_and_kept(
        self, change: dict[str, Any], field: str, editor: User, sign_in: SignIn
    ) -> None:
        response = sign_in(editor).post("/constitution/new", FORM | change)
        assert response.status_code == 422
        assert response.context["errors"].keys() == {field}
        assert "It happens." in response.content.decode()
        assert not Principle.objects.exists()

    def test_an_edit_says_whether_the_meaning_stays(
        self, version: PrincipleVersion, editor: User, sign_in: SignIn
    ) -> None:
        response = sign_in(editor).post("/constitution/particular-thing/edit", FORM | {"base": "1"})
        assert response.context["errors"].keys() == {"meaning"}

    def test_words_and_tasks_are_found(self, version: PrincipleVersion, owner: User, sign_in: SignIn) -> None:
        client = sign_in(owner)
        assert b"The particular thing" in client.get("/constitution/?q=thing&task=polish").content
        assert b"The particular thing" not in client.get("/constitution/?task=title").content
        assert b"The particular thing" not in client.get("/constitution/?q=100%25").content

    def test_a_new_task_is_offered_and_may_be_named(
        self, editor: User, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = sign_in(editor)
        assert client.post("/constitution/new", FORM | {"tasks": [TOY.key]}).status_code == 422
        monkeypatch.setitem(TASKS, TOY.key, TOY)
        for path in ("/constitution/", "/constitution/new"):
            page = client.get(path).content.decode()
            assert f'value="{TOY.key}"' in page
            assert TOY.label in page
        assert client.post("/constitution/new", FORM | {"tasks": [TOY.key]}).status_code == 302
        assert Principle.objects.get().current.tasks == [TOY.key]  # type: ignore[union-attr]
        assert TOY.label in client.get("/constitution/no-moral").content.decode()
        assert b"End without a moral" in client.get(f"/constitution/?task={TOY.key}").content
        exported = client.get("/constitution/constitution.toml").content.decode()
        assert read_constitution(exported)[0].tasks == (TOY.key,)
        monkeypatch.delitem(TASKS, TOY.key)
        assert client.get("/constitution/no-moral").status_code == 200

    def test_nonsense_is_no_fault_of_ours(self, version: PrincipleVersion, editor: User, sign_in: SignIn) -> None:
        client = sign_in(editor)
        assert client.get("/constitution/?q=%00").status_code == 200
        stale = FORM | {"meaning": "same", "base": "9" * 5000}
        assert client.post("/constitution/particular-thing/edit", stale).status_code == 409
        large = SimpleUploadedFile("x.toml", b"#" * 2_000_001)
        assert client.post("/constitution/import", {"file": large}).status_code == 422

    def test_a_file_is_imported(self, editor: User, sign_in: SignIn) -> None:
        client = sign_in(editor)
        file = SimpleUploadedFile("x.toml", write_constitution([PRINCIPLE]).encode())
        assert client.post("/constitution/import", {"file": file}).status_code == 302
        assert Principle.objects.get().key == PRINCIPLE.key
        for content in (b"\xff\xfe", b"[[principle"):
            response = client.post("/constitution/import", {"file": SimpleUploadedFile("x.toml", content)})
            assert response.status_code == 422
            assert response.context["errors"].keys() == {"file"}
        assert client.post("/constitution/import", {}).status_code == 422

    def test_html_is_text(self, editor: User, sign_in: SignIn) -> None:
        client = sign_in(editor)
        client.post("/constitution/new", FORM | {"name": "<script>alert(1)</script>", "explanation": "<b>x</b>"})
        for path in ("/constitution/", "/constitution/no-moral", "/constitution/no-moral/edit"):
            page = client.get(path).content.decode()
            assert "<script>alert" not in page
            assert "<b>x</b>" not in page
