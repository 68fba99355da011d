"""Migrates the database before the servers start: `python -m workers.prepare [--static]`.

With `--static` it also collects the static files; images do that when they are built.

The last line of standard output is JSON: the demo accounts with their passwords and tokens, for `run.json`. It runs as its
own process, so that the supervisor needs neither Django nor a connection.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

import django


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    call_command("migrate", interactive=False, verbosity=1, stdout=sys.stderr)
    from writer.accounts.demo import ensure_demo_accounts
    from writer.editorial.operations.import_constitution import ensure_constitution
    from writer.stories.operations.models import ensure_model_version

    if url := os.environ.get("WORKER_DATABASE_URL"):
        from django.db import transaction

        from workers.role import ensure_worker_role

        with transaction.atomic():
            ensure_worker_role(url)
    ensure_model_version()
    ensure_constitution()
    if "--static" in sys.argv:
        call_command("collectstatic", interactive=False, verbosity=0, stdout=sys.stderr)
    accounts = [asdict(account) for account in ensure_demo_accounts()] if settings.DEBUG else []
    print(json.dumps(accounts))


if __name__ == "__main__":
    main()
