"""The commands for the servers: up, backup, restore. They run before Django is configured."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from training.serving.process import CannotStart
from workers.programs import Site
from workers.supervisor import Supervisor


def main(command: str, arguments: list[str], site: Site) -> int:
    parser = argparse.ArgumentParser(prog=f"manage.py {command}")
    if command == "up":
        parser.description = "Start everything and keep it running. Ctrl-C stops it."
        parser.parse_args(arguments)
        try:
            return Supervisor(site).run()
        except CannotStart as error:
            print(error, file=sys.stderr)
            return 1
    from workers.backup import BackupFailed, backup, restore

    parser.add_argument("file", type=Path, nargs="?" if command == "backup" else None, help="file of the backup")
    if command == "restore":
        parser.add_argument("--yes", action="store_true", help="replace the contents of the database without asking")
    options = parser.parse_args(arguments)
    try:
        if command == "backup":
            print(f"Backed up to {backup(site.var, site.database_url, options.file)}")
        else:
            if not options.yes and input("Replace everything in the database with this backup? [y/N] ").lower() != "y":
                return 1
            restore(site.var, site.database_url, options.file)
            print(f"Restored from {options.file}")
    except (BackupFailed, CannotStart) as error:
        print(error, file=sys.stderr)
        return 1
    return 0
