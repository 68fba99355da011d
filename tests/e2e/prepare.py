"""Makes the tables and the demo accounts of a stack, and prints the accounts as JSON, each with a session of a browser that has signed in."""

from __future__ import annotations

import json
from dataclasses import asdict

import django


def main() -> None:
    django.setup()
    from django.core.management import call_command
    from django.test import Client

    from writer.accounts.demo import ensure_demo_accounts
    from writer.editorial.operations.import_constitution import ensure_constitution
    from writer.stories.operations.models import ensure_model_version

    call_command("migrate", verbosity=0)
    ensure_constitution()
    ensure_model_version()
    accounts = []
    for account in ensure_demo_accounts():
        browser = Client(headers={"user-agent": "Chromium"})
        answer = browser.post("/account/login/", {"login": account.email, "password": account.password})
        assert answer.status_code == 302, answer.content
        accounts.append(asdict(account) | {"session": browser.cookies["sessionid"].value})
    print(json.dumps(accounts))


if __name__ == "__main__":
    main()
