"""The recipes and measurements as commands, without the site: `python -m training pretrain demo/pretrain.toml`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from training.errors import MendableError
from training.records import Report
from training.settings import PretrainSettings, read_settings


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training", description="Train and measure story models.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (
        ("pretrain", "train a small story model from scratch, or go on with it"),
        ("export", "write the newest checkpoint of a run as a model"),
        ("evaluate", "measure a model on the stories that its run held out"),
        ("card", "write the card of a model from its run and its measurements"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("settings", type=Path, help="the settings of the run, a TOML or JSON file")
        if name != "pretrain":
            command.add_argument("model", type=Path, help="the model's folder")
        if name in ("evaluate", "card"):
            command.add_argument("report", type=Path, help="the JSON file of the measurements")
        if name == "evaluate":
            command.add_argument("--samples", type=int, default=200)
    chosen = parser.parse_args(arguments)
    try:
        run(chosen)
    except MendableError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def run(chosen: argparse.Namespace) -> None:
    settings = read_settings(chosen.settings, PretrainSettings)
    # torch takes seconds to import: what is wrong with the settings is said before.
    if chosen.command == "pretrain":
        from training.recipes.pretrain import pretrain

        pretrain(settings)
    elif chosen.command == "export":
        from training.recipes.pretrain import export

        export(settings, chosen.model)
    elif chosen.command == "evaluate":
        from training.evaluate.story_model import evaluate

        report = evaluate(settings, chosen.model, samples=chosen.samples)
        chosen.report.parent.mkdir(parents=True, exist_ok=True)
        chosen.report.write_text(report.model_dump_json(indent=2) + "\n")
    else:
        from training.card import write_card

        try:
            report = Report.model_validate_json(chosen.report.read_text())
        except (OSError, ValueError) as error:
            raise MendableError(f"{chosen.report} is not a report of `python -m training evaluate`: {error}.") from None
        write_card(settings, chosen.model, report)


if __name__ == "__main__":
    sys.exit(main())
