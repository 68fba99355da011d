"""Access to every address of the site, for all roles. A new address without a rule fails here."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from tests.writer.editorial.test_store_violations import stored
from webapp.api import api
from writer.accounts.models import ApiToken, User
from writer.accounts.operations.invite import invite, secret_of
from writer.editorial.models import Act, Pair, PrincipleVersion, Reading, Snapshot
from writer.editorial.operations.freeze import open_story
from writer.editorial.operations.share import share
from writer.stories.models import Deployment, Generation, ModelVersion
from writer.stories.operations.create_story import create_story
from writer.studio.models import Arena, Reference, Run

pytestmark = pytest.mark.django_db

PUBLIC, SIGNED_IN, OWN, EDITOR, TURN, ADMIN, GUEST, SHUT, NOBODY = (
    "public", "signed in", "own", "editor", "the editor whose turn it is", "admin", "guest", "nobody yet", "nobody",
)  # fmt: skip
CAST = ("anonymous", "stranger", "editor", "admin", "owner")

PAGES = {
    "stories": SIGNED_IN,
    "story_new": SIGNED_IN,
    "story": OWN,
    "story_about": OWN,
    "story_download": OWN,
    "story_delete": OWN,
    "constitution": SIGNED_IN,
    "constitution_export": SIGNED_IN,
    "constitution_import": EDITOR,
    "principle": SIGNED_IN,
    "principle_new": EDITOR,
    "principle_edit": EDITOR,
    "principle_state": EDITOR,
    "sharing": OWN,
    "notes": OWN,
    "takes": OWN,
    "desk": EDITOR,
    "desk_next": EDITOR,
    "pair": TURN,
    "pair_reveal": TURN,
    "pair_result": SHUT,  # before the names were asked for; see test_blindness
    "pair_gold": SHUT,  # another's turn, even for an admin; see test_queue
    "offered_open": EDITOR,
    "marking": EDITOR,
    "rubric": EDITOR,
    "ask": EDITOR,
    "agreement": EDITOR,
    "again": EDITOR,
    "again_look": EDITOR,
    "again_undo": EDITOR,
    "violations": EDITOR,
    "violation": EDITOR,
    "violation_undo": EDITOR,
    "snapshots": ADMIN,
    "snapshot": ADMIN,
    "snapshot_again": ADMIN,
    "snapshot_export": ADMIN,
    "snapshot_file": ADMIN,
    "snapshot_import": ADMIN,
    "account": SIGNED_IN,
    "account_export": SIGNED_IN,
    "account_delete": SIGNED_IN,
    "tokens": SIGNED_IN,
    "token_revoke": OWN,
    "people": ADMIN,
    "person_change": ADMIN,
    "person_password": ADMIN,
    "invite": ADMIN,
    "invitation_withdraw": ADMIN,
    "invitation": GUEST,
    "studio": ADMIN,
    "ledger": ADMIN,
    "audit": ADMIN,
    "runs": ADMIN,
    "run_retrain": ADMIN,
    "run_new": ADMIN,
    "datasets": ADMIN,
    "run": ADMIN,
    "run_events": ADMIN,
    "run_act": ADMIN,
    "versions": ADMIN,
    "version": ADMIN,
    "version_import": ADMIN,
    "version_evaluate": ADMIN,
    "version_promote": ADMIN,
    "version_retire": ADMIN,
    "version_roll_back": ADMIN,
    "deployment_give_up": ADMIN,
    "from_principle": ADMIN,
    "from_editor": ADMIN,
    "arena_new": ADMIN,
    "arena": ADMIN,
    "arena_close": ADMIN,
    "references": ADMIN,
    "reference_delete": ADMIN,
    "help": PUBLIC,
    "healthz": PUBLIC,
    "readyz": PUBLIC,
    "metrics": PUBLIC,  # on this machine, see test_health
    "account/email/": NOBODY,
}
POSTS = {
    "constitution_import",
    "principle_state",
    "desk_next",
    "pair_reveal",
    "pair_gold",
    "offered_open",
    "again_look",
    "again_undo",
    "violation_undo",
    "snapshot_again",
    "snapshot_import",
    "story_delete",
    "tokens",
    "token_revoke",
    "person_change",
    "person_password",
    "invite",
    "invitation_withdraw",
    "run_retrain",
    "run_act",
    "version_import",
    "version_evaluate",
    "version_promote",
    "version_retire",
    "version_roll_back",
    "deployment_give_up",
    "arena_close",
    "reference_delete",
}

CALLS = {
    "POST /stories": SIGNED_IN,
    "GET /stories": SIGNED_IN,
    "GET /stories/{story_id}": OWN,
    "PATCH /stories/{story_id}": OWN,
    "DELETE /stories/{story_id}": OWN,
    "PUT /stories/{story_id}/text": OWN,
    "POST /stories/{story_id}/generations": OWN,
    "GET /generations/{generation_id}": OWN,
    "GET /generations/{generation_id}/text": OWN,
    "POST /generations/{generation_id}/pause": OWN,
    "POST /generations/{generation_id}/continue": OWN,
    "POST /generations/{generation_id}/stop": OWN,
    "GET /principles": SIGNED_IN,
    "GET /stories/{story_id}/sharing": OWN,
    "PUT /stories/{story_id}/sharing": OWN,
    "POST /readings": EDITOR,
    "GET /readings/{reading_id}": TURN,
    "PATCH /readings/{reading_id}": TURN,
    "POST /offered/{story_id}": EDITOR,
    "GET /takes/{take_id}": EDITOR,
    "GET /takes/{take_id}/marks": EDITOR,
    "PUT /acts/{op_id}": TURN,
    "DELETE /acts/{op_id}": TURN,
    "GET /me": SIGNED_IN,
    "GET /tokens": SIGNED_IN,
    "POST /tokens": SIGNED_IN,
    "DELETE /tokens/{token_id}": OWN,
    "GET /invitations": ADMIN,
    "POST /invitations": ADMIN,
    "DELETE /invitations/{invitation_id}": ADMIN,
}
READING = "0b7a3f0e-9a4f-4b6f-8f8e-3d1c2b4a5e6f"
BODIES: dict[str, dict[str, Any]] = {
    "POST /stories": {"title": "t", "premise": "p", "target_words": 300, "start": False},
    "PATCH /stories/{story_id}": {"title": "Another"},
    "PUT /stories/{story_id}/text": {
        "base_revision": "6f0c1c8e-4f0e-4d0a-9d43-3f1d8b8a7c55",
        "absorbed": 0,
        "text": "x",
        "op_id": "1",
    },
    "POST /stories/{story_id}/generations": {},
    "POST /tokens": {"name": "n"},
    "PUT /stories/{story_id}/sharing": {"consent": "reading", "given": True},
    "PATCH /readings/{reading_id}": {"place_left": 0, "place_right": 0, "seconds": 1},
    "PUT /acts/{op_id}": {"kind": "vote", "reading": READING, "preference": 1},
    "POST /invitations": {"email": "new@longhand.test"},
}


def patterns(resolver: URLResolver, before: str = "") -> list[tuple[str, URLPattern]]:
    found: list[tuple[str, URLPattern]] = []
    for entry in resolver.url_patterns:
        path = before + str(entry.pattern)
        found += patterns(entry, path) if isinstance(entry, URLResolver) else [(path, entry)]
    return found


ALL = patterns(get_resolver())
OURS = [
    (path, entry) for path, entry in ALL if not path.startswith("api/") and not entry.lookup_str.startswith("allauth.")
]
ALLAUTH = [
    path for path, entry in ALL if entry.lookup_str.startswith("allauth.") and "<" not in path and "(" not in path
]


@pytest.fixture
def ids(
    generation: Generation, owner: User, editor: User, admin: User, version: PrincipleVersion, pair: Pair
) -> dict[str, str]:
    token, _ = ApiToken.issue(owner, "mine")
    share(by=owner, story_id=generation.story_id, consent="reading", given=True)
    offered = create_story(owner=owner, title="Offered", premise="P", target_words=300, text="The lamp was lit.")
    share(by=owner, story_id=offered.pk, consent="reading", given=True)
    Reading.objects.create(pk=READING, pair=pair, editor=editor, swapped=False)
    asked = {"kind": "vote", "reading": READING, "preference": 1, "axes": {}, "reason": "", "principles": []}
    Act.objects.create(editor=editor, op_id="act", kind="unmark", asked=asked, subject=READING)
    snapshot = Snapshot.objects.create(
        number=1, kind="prompts", state="ready", query={}, described="", counts={"sources": {}, "left_out": {}}
    )
    candidate = ModelVersion.objects.create(
        name="A candidate", served_name="candidate", tokenizer="", parent=generation.model
    )
    run = Run.objects.create(recipe="dpo", settings={}, base=generation.model, snapshot=snapshot, by=admin)
    arena = Arena.objects.create(
        candidate=candidate, champion=generation.model, by=admin, most=10, words=300, confidence=0.95, share=0.5
    )
    deployment = Deployment.objects.create(version=candidate, kind="promote", by=admin)
    reference = Reference.objects.create(take=pair.first, author="Anton Chekhov", by=admin)
    invitation = invite(by=admin, email="guest@longhand.test", role="writer")
    return {
        "uuid:story_id": str(generation.story_id),
        "uuid:generation_id": str(generation.pk),
        "int:token_id": str(token.pk),
        "int:invitation_id": str(invitation.pk),
        "int:user_id": str(owner.pk),
        "str:kind": "txt",
        "slug:key": version.principle.key,
        "uuid:reading_id": READING,
        "int:take_id": str(open_story(by=editor, story_id=offered.pk).pk),
        "int:violation_id": str(stored(pair.first, "The lamp was lit, as always.")[0].pk),
        "int:number": "1",
        "str:name": "README.md",
        ":op_id": "act",
        "slug:recipe": "dpo",
        "int:run_id": str(run.pk),
        "slug:act": "start",
        "int:version_id": str(candidate.pk),
        "int:arena_id": str(arena.pk),
        "int:reference_id": str(reference.pk),
        "int:deployment_id": str(deployment.pk),
        "path:name": "use/writer",
        "str:secret": secret_of(invitation.email, invitation.role, invitation.expires),
    }


@pytest.fixture
def cast(owner: User, stranger: User, editor: User, admin: User) -> dict[str, User | None]:
    return {"anonymous": None, "stranger": stranger, "editor": editor, "admin": admin, "owner": owner}


def expected(rule: str, who: str, *, page: bool) -> set[int]:
    away = 302 if page else 401
    fine = {200, 201, 204, 302, 409, 422}
    if rule == PUBLIC:
        return fine
    if rule == NOBODY:
        return {404}
    if rule == GUEST:
        return {200} if who == "anonymous" else {409}
    if who == "anonymous":
        return {away}
    if rule == SHUT:
        return {404}
    if rule == OWN:
        return fine if who == "owner" else {404}
    if rule == EDITOR:
        return fine if who in ("editor", "admin") else {404}
    if rule == TURN:
        return fine if who == "editor" else {404}
    if rule == ADMIN:
        return fine if who == "admin" else {404}
    return fine


@pytest.mark.parametrize(("path", "entry"), OURS, ids=lambda value: value if isinstance(value, str) else "")
def test_pages(
    path: str, entry: URLPattern, ids: dict[str, str], cast: dict[str, User | None], sign_in: Callable[..., Client]
) -> None:
    name = entry.name or path
    rule = PAGES[name]
    for key, value in ids.items():
        path = path.replace(f"<{key}>", value)
    for who in CAST:  # the owner comes last: then the story may be gone
        client = sign_in(cast[who])
        response = client.post(f"/{path}") if name in POSTS else client.get(f"/{path}")
        assert response.status_code in expected(rule, who, page=True), who
        if who == "anonymous" and rule in (SIGNED_IN, OWN, EDITOR, TURN, ADMIN):
            assert response.headers["Location"].startswith("/account/login/")


@pytest.mark.parametrize("call", sorted(CALLS))
def test_calls(
    call: str,
    ids: dict[str, str],
    cast: dict[str, User | None],
    sign_in: Callable[..., Client],
    script: Callable[[User], Client],
) -> None:
    method, path = call.split()
    for key, value in ids.items():
        path = path.replace("{" + key.partition(":")[2] + "}", value)
    for who in CAST:
        user = cast[who]
        allowed = expected(CALLS[call], who, page=False)
        # Whoever may do it does it once; whoever may not is refused with a session and with a token.
        for client in (sign_in(user), script(user)) if user and 404 in allowed else (sign_in(user),):
            response = client.generic(method, f"/api{path}", json.dumps(BODIES.get(call, {})), "application/json")
            assert response.status_code in allowed, (who, response.content)
            if response.status_code == 404:
                assert json.loads(response.content) == {"detail": "There is no such thing here."}


def test_every_call_has_a_rule() -> None:
    described = api.get_openapi_schema()["paths"]
    found = {
        f"{method.upper()} {path.removeprefix('/api')}" for path, methods in described.items() for method in methods
    }
    assert found == set(CALLS)


@pytest.mark.parametrize("path", sorted(set(ALLAUTH)))
def test_the_pages_of_allauth_open_without_a_fault(path: str, stranger: User, sign_in: Callable[..., Client]) -> None:
    assert sign_in(stranger).get(f"/{path}").status_code in (200, 302, 404, 405)
    response = sign_in(None).get(f"/{path}")
    assert response.status_code in (200, 302, 404, 405)
    if response.status_code == 200:
        assert path.removeprefix("account/") in ("login/", "signup/", "inactive/", "password/reset/", "password/reset/done/",
            "password/reset/key/done/", "confirm-email/", "reauthenticate/")  # fmt: skip


def test_nobody_signs_up_by_themselves(client: Client, db: None) -> None:
    form = {"email": "me@longhand.test", "password1": "a heron in the reeds", "password2": "a heron in the reeds"}
    client.post("/account/signup/", form)
    assert not User.objects.filter(email="me@longhand.test").exists()


@pytest.mark.parametrize(
    "path", [path for path, entry in OURS if entry.name in POSTS | {"story_new", "account", "account_delete"}]
)
def test_a_post_from_elsewhere_changes_nothing(
    path: str, ids: dict[str, str], cast: dict[str, User | None], sign_in: Callable[..., Client]
) -> None:
    who = cast["admin"] if path.startswith(("people", "invitation", "studio")) else cast["owner"]
    for key, value in ids.items():
        path = path.replace(f"<{key}>", value)
    response = sign_in(who, csrf=True).post(f"/{path}", {"name": "x", "role": "admin", "title": "x"})
    assert response.status_code == 403
    assert b"again" in response.content


@pytest.mark.parametrize("call", sorted(call for call in CALLS if not call.startswith("GET")))
def test_a_call_from_elsewhere_changes_nothing(
    call: str, ids: dict[str, str], cast: dict[str, User | None], sign_in: Callable[..., Client]
) -> None:
    method, path = call.split()
    for key, value in ids.items():
        path = path.replace("{" + key.partition(":")[2] + "}", value)
    who = {ADMIN: "admin", EDITOR: "editor", TURN: "editor"}.get(CALLS[call], "owner")
    client = sign_in(cast[who], csrf=True)
    response = client.generic(method, f"/api{path}", json.dumps(BODIES.get(call, {})), "application/json")
    assert response.status_code == 403
    client.cookies["csrftoken"] = "a" * 32
    response = client.generic(
        method, f"/api{path}", json.dumps(BODIES.get(call, {})), "application/json", headers={"X-CSRFToken": "a" * 32}
    )
    assert response.status_code in (200, 201, 204, 409), "with the token of the page it is done"
