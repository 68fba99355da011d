"""The recipes and measurements as commands, without the site: `python -m training sft run.toml`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from training.common.errors import EXIT_MENDABLE, AskedToStop, MendableError, full_disk_said_plainly
from training.config.declarations import Recipe
from training.config.settings import read_settings
from training.test_model.settings import DemoSettings

OF_THE_DEMO = {
    "export": "write the newest checkpoint of the demo's run as a model",
    "evaluate": "measure the demo's model on the stories that its run held out",
    "card": "write the card of the demo's model from its run and its measurements",
}


def main(arguments: list[str] | None = None) -> int:
    try:
        chosen = parse(arguments)
        with full_disk_said_plainly(Path.cwd()):
            run(chosen)
    except MendableError as error:
        say(" ".join(str(error).splitlines()))
        return EXIT_MENDABLE
    except KeyboardInterrupt:
        say("Interrupted; the same command resumes from what is saved.")
        return 130
    except AskedToStop:
        pass  # the run has logged it
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    from training.recipes.registry import (
        COMMANDS,  # which raises MendableError where another package's declaration is broken
    )

    parser = argparse.ArgumentParser(prog="python -m training", description="Train and measure story models.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in ({name: one.about for name, one in COMMANDS.items()} | OF_THE_DEMO).items():
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("settings", type=Path, help="a TOML or JSON file")
        if name in OF_THE_DEMO:
            command.add_argument("model", type=Path, help="the model's folder")
        if name in ("evaluate", "card"):
            command.add_argument("report", type=Path, help="the JSON file of the measurements")
        if name == "evaluate":
            command.add_argument("--samples", type=int, default=200)
    plan = "say what a run would take: memory of each GPU, tokens, hours"
    command = commands.add_parser("plan", help=plan, description=plan)
    command.add_argument("settings", type=Path, help="a TOML or JSON file that names its recipe")
    command.add_argument("--gpus", type=int, default=4)
    command.add_argument("--gpu", default="a100-80", help="a100-80, h100 or h200")
    command.add_argument("--texts", type=int, help="in the data, if it is not there to be counted")
    command.add_argument("--words", type=float, help="of a text, likewise")
    command.add_argument("--tokens-per-word", type=float, default=1.35)
    command.add_argument("--mfu", type=float, default=0.4, help="share of the GPUs' arithmetic that a run gets")
    report = "write report.html, a page with the curves of a run, into its folder"
    commands.add_parser("report", help=report, description=report).add_argument("run", type=Path)
    return parser.parse_args(arguments)


def say(text: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # of several processes, which mostly meet the same
        print(text, file=sys.stderr)


def run(chosen: argparse.Namespace) -> None:
    from training.recipes.registry import COMMANDS, read_run

    if command := COMMANDS.get(chosen.command):
        settings = read_settings(chosen.settings, command.settings)
        for name, value in command.environment.items():
            os.environ.setdefault(name, value)
        if isinstance(command, Recipe):
            from training.learner.processes import quiet_libraries

            quiet_libraries()
        command.load()(settings)
    elif chosen.command == "plan":
        from training.planning.estimate import make_plan
        from training.planning.plan import format_plan

        flags = {name: value for name, value in vars(chosen).items() if name not in ("command", "settings")}
        print(format_plan(make_plan(*read_run(chosen.settings), **flags)))
    elif chosen.command == "report":
        from training.reporting.report import write_report

        print(write_report(chosen.run))
    else:
        measure(chosen, read_settings(chosen.settings, DemoSettings))


def measure(chosen: argparse.Namespace, settings: DemoSettings) -> None:
    if chosen.command == "export":
        from training.test_model.train import export

        export(settings, chosen.model)
    elif chosen.command == "evaluate":
        from training.test_model.evaluate import evaluate

        report = evaluate(settings, chosen.model, samples=chosen.samples)
        chosen.report.parent.mkdir(parents=True, exist_ok=True)
        chosen.report.write_text(report.model_dump_json(indent=2) + "\n")
    else:
        from training.common.records import Report
        from training.test_model.card import write_card

        try:
            report = Report.model_validate_json(chosen.report.read_text())
        except (OSError, ValueError) as error:
            raise MendableError(f"{chosen.report} is not a report of `python -m training evaluate`: {error}.") from None
        write_card(settings, chosen.model, report)


if __name__ == "__main__":
    sys.exit(main())
