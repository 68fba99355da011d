from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from writer.accounts.models import Role
from writer.accounts.operations.invite import invite, link_of
from writer.refusals import Refused


class Command(BaseCommand):
    help = "Print a link for making one account, for instance that of the first admin."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--role", choices=Role.values, default=Role.WRITER)

    def handle(self, *_args: Any, email: str, role: str, **_options: Any) -> None:
        try:
            invitation = invite(by=None, email=email, role=role)
        except Refused as refusal:
            raise CommandError(refusal.detail) from None
        self.stdout.write(link_of(invitation))
        if not settings.SITE_URL:
            self.stderr.write("SITE_URL is not set: put the address of this site in front of it.")
