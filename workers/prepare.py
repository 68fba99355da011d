"""Brings the database up to date before anything serves from it: `python -m workers.prepare`.

The last line of standard output is JSON: the demo accounts with their passwords and tokens, for `run.json`. It is a
process of its own, so that the supervisor holds neither Django nor a connection.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, is_dataclass

import django


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    call_command("migrate", interactive=False, verbosity=1, stdout=sys.stderr)
    accounts = []
    if settings.DEBUG:
        from writer.accounts.demo import ensure_demo_accounts

        accounts = [asdict(account) for account in ensure_demo_accounts() if is_dataclass(account)]
    else:
        call_command("collectstatic", interactive=False, verbosity=0, stdout=sys.stderr)
    print(json.dumps(accounts))


if __name__ == "__main__":
    main()
