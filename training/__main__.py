"""`python -m training RECIPE SETTINGS`: run a recipe alone, without the site."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from training.errors import MendableError
from training.settings import PretrainSettings, read_settings


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training", description="Train and measure story models.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("pretrain", help="train a small story model from scratch, or go on with it")
    command.add_argument("settings", type=Path, help="a TOML or JSON file")
    command = commands.add_parser("export", help="write the newest checkpoint of a run as a model")
    command.add_argument("settings", type=Path, help="the settings of the run")
    command.add_argument("model", type=Path, help="the folder to write")
    chosen = parser.parse_args(arguments)
    try:
        settings = read_settings(chosen.settings, PretrainSettings)
        from training.recipes import pretrain as recipe  # torch takes seconds; mistakes in the settings are said before

        if chosen.command == "export":
            recipe.export(settings, chosen.model)
        else:
            recipe.pretrain(settings)
    except MendableError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
