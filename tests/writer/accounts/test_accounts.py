"""Invitations, changes of accounts, and their deletion."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any, ClassVar

import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from tests.cast import PASSWORD, write
from workers.jobs.tasks import clear_away, mail_invitation
from writer.accounts.demo import ensure_demo_accounts
from writer.accounts.models import ApiToken, Invitation, Role, User, digest
from writer.accounts.operations.change_person import change_person
from writer.accounts.operations.invite import invite, link_of, secret_of
from writer.accounts.tokens import user_of_token
from writer.refusals import NotNow, Refused
from writer.stories.models import Chunk, Generation, Revision, Story

pytestmark = pytest.mark.django_db
SignIn = Callable[..., Client]
GOOD = {"name": "Nora New", "password": "a boat on the lake", "password_again": "a boat on the lake"}


class TestInvitation:
    @pytest.fixture
    def made(self, admin: User) -> Invitation:
        return invite(by=admin, email="New@Longhand.test", role="editor")

    def test_the_page_makes_the_account_and_signs_in(self, made: Invitation, client: Client) -> None:
        link = link_of(made)
        assert client.get(link).status_code == 200
        assert client.post(link, GOOD)["Location"] == "/"
        user = User.objects.get(email="new@longhand.test")
        assert (user.name, user.role) == ("Nora New", "editor")
        assert client.get("/").status_code == 200
        signed_in_elsewhere = Client()
        assert (
            signed_in_elsewhere.post("/account/login/", {"login": user.email, "password": GOOD["password"]}).status_code
            == 302
        )

    def test_a_link_works_once(self, made: Invitation) -> None:
        link = link_of(made)
        Client().post(link, GOOD)
        for response in (Client().get(link), Client().post(link, GOOD)):
            assert response.status_code == 410
            assert b"sign in" in response.content.lower()
        assert User.objects.filter(role="editor").count() == 1

    def test_a_link_ends(self, made: Invitation) -> None:
        link = link_of(made)
        Invitation.objects.update(expires=timezone.now() - timedelta(seconds=1))
        response = Client().post(link, GOOD)
        assert response.status_code == 410
        assert not User.objects.filter(role="editor").exists()

    def test_a_link_that_never_was(self, made: Invitation) -> None:
        assert Client().get(link_of(made)[:-2] + "xx").status_code == 404

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"password": "short", "password_again": "short"}, "password"),
            ({"password": "password", "password_again": "password"}, "password"),
            ({"password_again": "another"}, "password_again"),
            ({"name": "  "}, "name"),
            ({"name": "x" * 81}, "name"),
        ],
    )
    def test_what_is_wrong_is_said(self, change: dict[str, str], field: str, made: Invitation, client: Client) -> None:
        response = client.post(link_of(made), GOOD | change)
        assert response.status_code == 422
        assert response.context["errors"].keys() == {field}
        assert not User.objects.filter(role="editor").exists()

    def test_inviting_again_ends_the_older_link(self, made: Invitation, admin: User) -> None:
        old = link_of(made)
        invite(by=admin, email="new@longhand.test", role="writer")
        assert Client().get(old).status_code == 404

    def test_only_the_digest_is_kept(self, made: Invitation) -> None:
        secret = secret_of(made.email, made.role, made.expires)
        assert made.digest == digest(secret)
        assert secret not in json.dumps([str(value) for value in Invitation.objects.values_list()])

    @pytest.mark.parametrize(
        ("email", "role", "field"),
        [
            ("nonsense", "writer", "email"),
            ("admin@longhand.test", "writer", "email"),
            ("x@longhand.test", "boss", "role"),
        ],
    )
    def test_who_cannot_be_invited(self, email: str, role: str, field: str, admin: User, sign_in: SignIn) -> None:
        response = sign_in(admin).post("/account/people/invite", {"email": email, "role": role})
        assert response.status_code == 422
        assert response.context["errors"].keys() == {field}

    def test_the_page_shows_the_link_once(self, admin: User, sign_in: SignIn) -> None:
        client = sign_in(admin)
        page = client.post("/account/people/invite", {"email": "x@longhand.test", "role": "writer"}).content.decode()
        found = re.search(r"http://testserver/account/invitation/[\w-]{43}", page)
        assert found
        assert found[0] not in client.get("/account/people").content.decode()
        assert Client().get(found[0].removeprefix("http://testserver")).status_code == 200

    def test_it_is_mailed_where_mail_is_configured(
        self, admin: User, settings: Settings, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
    ) -> None:
        settings.MAIL_CONFIGURED, settings.SITE_URL = True, "https://longhand.example"
        settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
        sent: list[tuple[str, list[int]]] = []
        monkeypatch.setattr("celery.Celery.send_task", lambda _app, name, args: sent.append((name, args)))
        with django_capture_on_commit_callbacks(execute=True):
            made = invite(by=admin, email="x@longhand.test", role="writer")
        assert sent == [(mail_invitation.name, [made.pk])], "no secret travels through the broker"
        mail_invitation(made.pk)
        assert mail.outbox[0].to == ["x@longhand.test"]
        assert link_of(made) in mail.outbox[0].body
        assert link_of(made).startswith("https://longhand.example/account/invitation/")

    def test_the_command_for_the_first_admin(self, db: None) -> None:
        out = StringIO()
        call_command("invite", "first@longhand.test", "--role", "admin", stdout=out, stderr=StringIO())
        assert Client().post(out.getvalue().strip(), GOOD).status_code == 302
        assert User.objects.get().is_admin
        with pytest.raises(CommandError, match="already"):
            call_command("invite", "first@longhand.test")


class TestSignIn:
    def test_too_many_wrong_passwords_are_stopped(self, owner: User, client: Client) -> None:
        wrong = {"login": owner.email, "password": "wrong"}
        for _ in range(5):
            assert client.post("/account/login/", wrong).status_code == 200
        client.post("/account/login/", {"login": owner.email, "password": PASSWORD})
        assert client.get("/").status_code == 302, "the right one comes too late as well"

    def test_a_header_that_nobody_vouches_for_does_not_open_the_limit(self, owner: User, client: Client) -> None:
        for number in range(6):
            headers = {"X-Forwarded-For": f"10.0.0.{number}", "X-Real-IP": f"10.0.0.{number}"}
            client.post("/account/login/", {"login": owner.email, "password": "wrong"}, headers=headers)
        client.post("/account/login/", {"login": owner.email, "password": PASSWORD}, headers={"X-Real-IP": "10.0.0.9"})
        assert client.get("/").status_code == 302

    def test_who_is_deactivated_is_out_at_once(self, owner: User, sign_in: SignIn, script: Any) -> None:
        browser, tool = sign_in(owner), script(owner)
        change_person(by=None, user_id=owner.pk, active=False)
        assert browser.get("/").status_code == 302
        assert tool.get("/api/me").status_code == 401
        client = Client()
        client.post("/account/login/", {"login": owner.email, "password": PASSWORD})
        assert client.get("/").status_code == 302


class TestTokens:
    def test_it_is_shown_once_and_kept_as_a_digest(self, owner: User, sign_in: SignIn) -> None:
        client = sign_in(owner)
        page = client.post("/account/tokens", {"name": "my script", "days": "30"}).content.decode()
        found = re.search(r"lh_[\w-]{43}", page)
        assert found
        assert "lh_" not in client.get("/account/").content.decode().replace("lh_…", "")
        assert ApiToken.objects.get().digest == digest(found[0])
        assert user_of_token(found[0]) == owner
        assert ApiToken.objects.get().last_used is not None

    def test_it_ends(self, owner: User) -> None:
        row, secret = ApiToken.issue(owner, "x", days=1)
        assert user_of_token(secret) == owner
        ApiToken.objects.filter(pk=row.pk).update(expires=timezone.now())
        assert user_of_token(secret) is None

    def test_it_is_revoked(self, owner: User, sign_in: SignIn) -> None:
        row, secret = ApiToken.issue(owner, "x")
        sign_in(owner).post(f"/account/tokens/{row.pk}/revoke")
        assert user_of_token(secret) is None

    @pytest.mark.parametrize(("name", "days"), [("", "1"), ("x", "0"), ("x", "many"), ("x", "4000"), ("x", "-1")])
    def test_nonsense_is_refused(self, name: str, days: str, owner: User, sign_in: SignIn) -> None:
        assert sign_in(owner).post("/account/tokens", {"name": name, "days": days}).status_code == 422
        assert not ApiToken.objects.exists()

    def test_over_the_api(self, owner: User, script: Any) -> None:
        client = script(owner)
        made = json.loads(client.post("/api/tokens", {"name": "n", "days": None}, "application/json").content)
        assert user_of_token(made["token"]) == owner
        assert "token" not in json.loads(client.get("/api/tokens").content)[1]
        assert client.delete(f"/api/tokens/{made['id']}").status_code == 204
        assert user_of_token(made["token"]) is None


class TestPeople:
    def test_an_admin_changes_a_role(self, admin: User, owner: User, sign_in: SignIn) -> None:
        assert sign_in(admin).post(f"/account/people/{owner.pk}", {"role": "editor"}).status_code == 302
        assert User.objects.get(pk=owner.pk).is_editor

    def test_one_admin_remains(self, admin: User, sign_in: SignIn) -> None:
        for change in ({"role": "writer"}, {"active": "no"}):
            response = sign_in(admin).post(f"/account/people/{admin.pk}", change)
            assert response.status_code == 409
            assert b"only admin" in response.content
        with pytest.raises(Refused):
            change_person(by=None, user_id=admin.pk, role="king")


class TestPasswordLink:
    NEW: ClassVar = {"password1": "a boat on the lake", "password2": "a boat on the lake"}

    def made(self, client: Client, user: User) -> str:
        page = client.post(f"/account/people/{user.pk}/password").content.decode()
        found = re.search(r"http://testserver(/account/password/reset/key/[\w-]+/)", page)
        assert found
        return found[1]

    def test_it_sets_a_new_password_once(self, admin: User, owner: User, sign_in: SignIn, client: Client) -> None:
        old = sign_in(owner)
        link = self.made(sign_in(admin), owner)
        form = client.get(link)["Location"]
        assert form.endswith("-set-password/"), "no secret in the address of the page"
        assert client.get(form).status_code == 200
        assert client.post(form, self.NEW | {"password2": "another"}).status_code == 200
        assert client.post(form, self.NEW).status_code == 302
        assert User.objects.get(pk=owner.pk).check_password(self.NEW["password1"])
        assert old.get("/").status_code == 302, "who sat there with the old password is out"
        assert b"This link is no longer valid" in Client().get(link).content

    def test_signing_in_ends_it(self, admin: User, owner: User, sign_in: SignIn) -> None:
        link = self.made(sign_in(admin), owner)
        Client().post("/account/login/", {"login": owner.email, "password": PASSWORD})
        assert b"This link is no longer valid" in Client().get(link).content

    def test_a_closed_account_has_none(self, admin: User, owner: User, sign_in: SignIn) -> None:
        change_person(by=None, user_id=owner.pk, active=False)
        assert sign_in(admin).post(f"/account/people/{owner.pk}/password").status_code == 404


class TestLeaving:
    def form(self, **change: str) -> dict[str, str]:
        return {"password": PASSWORD, "choice": "erase"} | change

    def test_everything_is_erased(self, owner: User, generation: Generation, sign_in: SignIn) -> None:
        write(generation, "One.")
        ApiToken.issue(owner, "x")
        client = sign_in(owner)
        assert client.post("/account/delete", self.form())["Location"] == "/account/login/"
        assert client.get("/").status_code == 302
        for model in (User, Story, Generation, Chunk, Revision, ApiToken):
            assert not model.objects.exists(), model

    def test_with_the_stories_taken_along(self, owner: User, generation: Generation, sign_in: SignIn) -> None:
        client = sign_in(owner)
        response = client.post("/account/delete", self.form(choice="export"))
        assert response.status_code == 422
        assert Story.objects.exists()
        assert client.get("/account/export")["Content-Type"] == "application/zip"
        assert client.post("/account/delete", self.form(choice="export")).status_code == 302
        assert not User.objects.exists()

    @pytest.mark.parametrize("change", [{"password": "wrong"}, {"choice": ""}, {"choice": "other"}])
    def test_not_by_accident(self, change: dict[str, str], owner: User, story: Story, sign_in: SignIn) -> None:
        assert sign_in(owner).post("/account/delete", self.form(**change)).status_code == 422
        assert User.objects.filter(pk=owner.pk).exists()

    def test_the_only_admin_stays(self, admin: User, sign_in: SignIn) -> None:
        assert sign_in(admin).post("/account/delete", self.form()).status_code == 409
        assert User.objects.filter(pk=admin.pk).exists()

    def test_who_was_invited_by_them_stays(self, admin: User, sign_in: SignIn) -> None:
        User.objects.create_user("two@longhand.test", PASSWORD, name="Two", role=Role.ADMIN)
        made = invite(by=admin, email="x@longhand.test", role="writer")
        Client().post(link_of(made), GOOD)
        sign_in(admin).post("/account/delete", self.form())
        assert User.objects.filter(email="x@longhand.test").exists()


class TestDemo:
    def test_the_accounts_stay_the_same(self, db: None, settings: Settings, tmp_path: Any) -> None:
        settings.DEBUG, settings.VAR = True, tmp_path / "var"
        first = ensure_demo_accounts()
        assert [account.role for account in first] == ["writer", "editor", "admin"]
        User.objects.all().delete()
        assert ensure_demo_accounts() == ensure_demo_accounts() == first
        for account in first:
            user = user_of_token(account.token)
            assert user is not None
            assert user.check_password(account.password)
            assert user.role == account.role
        assert stat.S_IMODE((tmp_path / "var" / "demo_accounts.json").stat().st_mode) == 0o600

    def test_only_where_debug_is(self, db: None, settings: Settings) -> None:
        settings.DEBUG = False
        with pytest.raises(RuntimeError):
            ensure_demo_accounts()


def test_what_is_over_is_cleared_away(owner: User, admin: User) -> None:
    old = timezone.now() - timedelta(days=31)
    for number, expires in enumerate((old, timezone.now() + timedelta(days=1))):
        Invitation.objects.create(digest=str(number), email="x@longhand.test", expires=expires)
        ApiToken.objects.create(owner=owner, name="x", digest=str(number), expires=expires)
    clear_away()
    assert list(Invitation.objects.values_list("digest", flat=True)) == ["1"]
    assert list(ApiToken.objects.values_list("digest", flat=True)) == ["1"]


def test_not_now_is_a_refusal() -> None:
    assert issubclass(NotNow, Refused)
