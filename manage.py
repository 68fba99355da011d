#!/usr/bin/env python3
"""The only entry for people who run the site: up, migrate, narrate, backup and the rest. `./manage.py help` lists them."""

from __future__ import annotations

import os
import sys


def main() -> None:
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command in ("up", "backup", "restore"):
        from workers.command import main as run  # these start or find the servers before Django is configured

        sys.exit(run(command, sys.argv[2:]))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    from workers.embedded.running import use_running_servers

    use_running_servers()
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
