from __future__ import annotations

from django.urls import path

from writer.accounts import views

urlpatterns = [
    path("", views.account, name="account"),
    path("tokens", views.tokens, name="tokens"),
    path("tokens/<int:token_id>/revoke", views.token_revoke, name="token_revoke"),
    path("people", views.people, name="people"),
    path("people/<int:user_id>", views.person_change, name="person_change"),
    path("people/<int:user_id>/password", views.person_password, name="person_password"),
    path("people/invite", views.invite_person, name="invite"),
    path("invitations/<int:invitation_id>/withdraw", views.invitation_withdraw, name="invitation_withdraw"),
    path("invitation/<str:secret>", views.invitation, name="invitation"),
    # An account has one address, the one that was invited.
    path("email/", views.nothing_here),
]
