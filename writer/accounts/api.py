"""The HTTP API of the current person, their tokens and, for admins, invitations."""

from __future__ import annotations

from datetime import datetime

from django.http import HttpRequest
from ninja import Router, Schema, Status
from pydantic import ConfigDict, Field

from writer.accounts.checks import checked_name
from writer.accounts.http import person, site_of
from writer.accounts.models import ApiToken, Invitation, Role
from writer.accounts.operations.invite import invite, link_of
from writer.accounts.tokens import checked_days
from writer.refusals import Missing

router = Router(tags=["accounts"])


class Me(Schema):
    id: int
    name: str
    email: str
    role: str


class TokenOut(Schema):
    id: int
    name: str
    created: datetime
    expires: datetime | None
    last_used: datetime | None


class NewToken(Schema):
    model_config = ConfigDict(extra="forbid")

    name: str
    days: int | None = Field(365, description="How long it is in force; null: until it is revoked")


class IssuedToken(TokenOut):
    token: str = Field(description="Shown this once")


class NewInvitation(Schema):
    model_config = ConfigDict(extra="forbid")

    email: str
    role: str = Role.WRITER


class InvitationOut(Schema):
    id: int
    email: str
    role: str
    created: datetime
    expires: datetime


class IssuedInvitation(InvitationOut):
    link: str = Field(description="To hand over; it makes one account")


@router.get("/me", response=Me)
def me(request: HttpRequest) -> object:
    return person(request)


@router.get("/tokens", response=list[TokenOut])
def my_tokens(request: HttpRequest) -> object:
    return person(request).api_tokens.order_by("created")


@router.post("/tokens", response={201: IssuedToken})
def new_token(request: HttpRequest, payload: NewToken) -> Status[dict[str, object]]:
    row, secret = ApiToken.issue(person(request), checked_name(payload.name), checked_days(payload.days))
    return Status(201, {**TokenOut.from_orm(row).dict(), "token": secret})


@router.delete("/tokens/{int:token_id}", response={204: None})
def revoke_token(request: HttpRequest, token_id: int) -> Status[None]:
    deleted, _ = person(request).api_tokens.filter(pk=token_id).delete()
    if not deleted:
        raise Missing
    return Status(204, None)


@router.get("/invitations", response=list[InvitationOut])
def open_invitations(request: HttpRequest) -> object:
    _admin(request)
    return Invitation.objects.filter(accepted_by=None).order_by("-created")


@router.post("/invitations", response={201: IssuedInvitation})
def new_invitation(request: HttpRequest, payload: NewInvitation) -> Status[dict[str, object]]:
    _admin(request)
    row = invite(by=person(request), email=payload.email, role=payload.role)
    link = link_of(row, site_of(request))
    return Status(201, {**InvitationOut.from_orm(row).dict(), "link": link})


@router.delete("/invitations/{int:invitation_id}", response={204: None})
def withdraw_invitation(request: HttpRequest, invitation_id: int) -> Status[None]:
    _admin(request)
    deleted, _ = Invitation.objects.filter(pk=invitation_id, accepted_by=None).delete()
    if not deleted:
        raise Missing
    return Status(204, None)


def _admin(request: HttpRequest) -> None:
    """Raise 404 for all others."""
    if not person(request).is_admin:
        raise Missing
