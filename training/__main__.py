"""The recipes, stages and measurements as commands: `python -m training sft run.toml`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from training.common.errors import EXIT_MENDABLE, AskedToStop, MendableError, disk_errors_explained
from training.config.declarations import Recipe
from training.config.settings import read_settings
from training.test_model.settings import DemoSettings


def main(arguments: list[str] | None = None) -> int:
    try:
        chosen = parse(arguments)
        with disk_errors_explained(Path.cwd()):
            run(chosen)
    except MendableError as error:
        print_error(" ".join(str(error).splitlines()))
        return EXIT_MENDABLE
    except KeyboardInterrupt:
        print_error("Interrupted; the same command resumes from what is saved.")
        return 130
    except AskedToStop:
        pass  # the run has logged it
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Raises MendableError if a declaration of another package is invalid."""
    from training.config.declarations import PROBLEMS
    from training.recipes.registry import COMMANDS, OTHER_COMMANDS

    if PROBLEMS:
        raise MendableError(" ".join(PROBLEMS))
    parser = argparse.ArgumentParser(prog="python -m training", description="Train and measure story models.")
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, about: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=about, description=about)

    for one in COMMANDS.values():
        add(one.name, one.about).add_argument("settings", type=Path, help="a TOML or JSON file")
    for name in ("export", "evaluate", "card"):
        command = add(name, OTHER_COMMANDS[name])
        command.add_argument("settings", type=Path, help="a TOML or JSON file")
        command.add_argument("model", type=Path, help="the model's folder")
        if name != "export":
            command.add_argument("report", type=Path, help="the JSON file of the measurements")
        if name == "evaluate":
            command.add_argument("--samples", type=int, default=200)
    command = add("plan", OTHER_COMMANDS["plan"])
    command.add_argument("settings", type=Path, help="a TOML or JSON file that names its recipe")
    command.add_argument("--gpus", type=int, default=4, help="the GPUs of each machine")
    command.add_argument("--nodes", type=int, default=1, help="the number of machines")
    command.add_argument("--gpu", default="a100-80", help="a100-80, h100 or h200")
    command.add_argument("--texts", type=int, help="the number of texts, if the data files do not exist")
    command.add_argument("--words", type=float, help="the words of a text, if the data files do not exist")
    command.add_argument("--tokens-per-word", type=float, default=1.35)
    command.add_argument("--mfu", type=float, default=0.4, help="the share of the GPUs' FLOP/s that the run reaches")
    add("report", OTHER_COMMANDS["report"]).add_argument("run", type=Path, help="a run's folder")
    return parser.parse_args(arguments)


def print_error(text: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # several processes mostly have the same error
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
