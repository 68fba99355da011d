#!/usr/bin/env python3
"""The command line for operators: up, migrate, narrate, backup, version and others. `./manage.py help` lists them."""

from __future__ import annotations

import os
import sys


def main() -> None:
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command in ("version", "--version"):
        from webapp.env import VERSION

        print(VERSION)
        return
    if command in ("up", "backup", "restore"):
        # These start or find the servers, so they run before Django reads the settings.
        from webapp.env import ROOT, env
        from workers.command import main as run
        from workers.programs import Site

        site = Site(
            root=ROOT,
            var=env.var,
            host=env.host,
            port=env.port,
            debug=env.debug,
            database_url=env.database_url,
            redis_url=env.redis_url,
            model_server_url=env.model_server_url,
            model_server_key=env.model_server_key,
            model=env.model_path,
            served_as=env.served_model,
            starter=not env.model and not env.model_server_url,
            model_context=env.model_context,
        )
        sys.exit(run(command, sys.argv[2:], site))
    from workers.embedded.running import use_running_servers

    use_running_servers()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
