"""The overhead of Longhand between the model server and the reader, and the number of stories that a machine can stream.

    python -m benchmarks.streaming [--pairs 9] [--only throughput|carry|starter] [--starter FOLDER] [--miniature]

**Throughput.** The peer is the model server alone: the same requests, sent directly to it by the same client on the same machine, alternating with
ours (A B B A ...). A round of ours requests N stories and lasts from the first request to the last word that a WebSocket delivers; the peer's
round requests N completions with the same numbers of tokens and lasts until the last token. Both are counted in tokens of delivered text per
second, by the model's tokenizer. Our first token is the first chunk on the WebSocket, from the request that starts the generation; the peer's is
the first event with text. The N start 60 ms apart; in `first_token_added_ms_p95_8_at_once` all eight start at the same time. For one stream there
are three times as many pairs. `throughput_ratio_8_starter` is of the starter model, in the folder in which `make run` puts it.

**Capacity.** A scripted model server sends each stream 30 words a second, each of which is the time at which it was due. The delay of a chunk is
the time at the reader minus that of its last word. Model server, narrator, web server and reader share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from tokenizers import Tokenizer

from benchmarks.report import ROOT, Measure, median_interval, p95, write
from benchmarks.site import STARTER, Site, running_site
from training.common.sampling import Sampling
from training.serving.process import free_port
from training.serving.vllm import ModelServer

WORDS = 1000
INTERVAL = 0.06
"""Seconds between the starts of two streams."""
PEER_MAX_TOKENS = 1900
"""The longest answer in the demo model's context. A story of ours may be longer, because it is written in several answers."""
PREMISES = (
    "A lamplighter finds that one of his lamps burns without oil.",
    "Two brothers quarrel over a horse that neither of them owns.",
    "The doctor of a small town receives a letter from a dead patient.",
    "A captain must choose between his ship and a promise.",
)


@dataclass
class Stream:
    """What a reader received: the times of the first and the last text, the text, and the delays of chunks."""

    first: float = 0.0
    last: float = 0.0
    text: list[str] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    ending: str = ""


async def prepare(session: aiohttp.ClientSession, at: Site, count: int, words: int) -> list[str]:
    """Make stories whose generation has not started."""
    stories = []
    for index in range(count):
        body = {
            "title": f"Story {index}",
            "premise": PREMISES[index % len(PREMISES)],
            "target_words": words,
            "start": False,
        }
        async with session.post(f"{at.url}/api/stories", json=body, headers=at.headers) as answer:
            answer.raise_for_status()
            stories.append((await answer.json())["id"])
    return stories


async def ours(
    session: aiohttp.ClientSession, at: Site, story: str, started: float, seconds: float = 3600, wait: float = 0.0
) -> Stream:
    """Start a story after `wait` seconds and read it to its end, or for at most `seconds`; 0 reads its first word only."""
    await asyncio.sleep(wait)
    seen, asked = Stream(), time.perf_counter()
    async with session.post(f"{at.url}/api/stories/{story}/generations", json={}, headers=at.headers) as answer:
        answer.raise_for_status()
        generation = (await answer.json())["id"]
    address = f"{at.url}/ws/generations/{generation}?after=0"
    async with session.ws_connect(address, headers=at.headers, max_msg_size=0) as socket:
        try:
            async with asyncio.timeout(seconds or 60):
                async for frame in socket:
                    message = json.loads(frame.data)
                    if message["type"] == "chunk" and message["channel"] == "story":
                        seen.last = time.perf_counter() - started
                        seen.first = seen.first or time.perf_counter() - asked
                        seen.text.append(message["text"])
                        if not seconds:
                            break
                        seen.delays.append(_delay(message["text"]))
                    elif message["type"] == "end":
                        seen.ending = message["ending"]
                        break
        except TimeoutError:
            pass
    return seen


def _delay(text: str) -> float:
    """Return the milliseconds since the last time stamp in the text; a negative number if it has none."""
    for word in reversed(text.split()):
        if len(stamp := word.rstrip(".")) == 12 and stamp.isdigit():
            return time.monotonic_ns() / 1e6 - int(stamp) / 1e3
    return -1.0


async def peers(
    session: aiohttp.ClientSession, server: ModelServer, index: int, tokens: int, started: float, wait: float
) -> Stream:
    """Request a completion with a given number of tokens from the model server, after `wait` seconds."""
    await asyncio.sleep(wait)
    seen, asked = Stream(), time.perf_counter()
    prompt = (
        "<|im_start|>user\nWrite a short story.\n"
        f"Title: Story {index}\nPremise: {PREMISES[index % len(PREMISES)]}\n"
        f"The story should be approximately {WORDS} words long.<|im_end|>\n<|im_start|>assistant\n"
    )
    body = {
        "model": server.served_as,
        "prompt": prompt,
        "max_tokens": min(tokens, PEER_MAX_TOKENS),
        "ignore_eos": True,
        "stream": True,
        **Sampling().parameters(),
    }
    headers = {"Authorization": f"Bearer {server.key}"}
    async with session.post(f"{server.url}/v1/completions", json=body, headers=headers) as answer:
        answer.raise_for_status()
        async for line in answer.content:
            if line.startswith(b"data: {"):
                piece = json.loads(line[6:])["choices"][0]["text"]
                seen.last = time.perf_counter() - started
                seen.first = seen.first or time.perf_counter() - asked
                seen.text.append(piece)
    return seen


async def round_of_ours(
    session: aiohttp.ClientSession, at: Site, count: int, interval: float = INTERVAL, seconds: float = 3600
) -> list[Stream]:
    stories = await prepare(session, at, count, WORDS)
    started = time.perf_counter()
    streams = await asyncio.gather(
        *(ours(session, at, story, started, seconds, interval * index) for index, story in enumerate(stories))
    )
    if not seconds:
        await _stop_all(session, at, stories)
    return list(streams)


async def round_of_peer(
    session: aiohttp.ClientSession, server: ModelServer, lengths: list[int], interval: float = INTERVAL
) -> list[Stream]:
    started = time.perf_counter()
    return list(
        await asyncio.gather(
            *(peers(session, server, index, tokens, started, interval * index) for index, tokens in enumerate(lengths))
        )
    )


def _added(through: list[Stream], direct: list[Stream]) -> float:
    """Return the milliseconds by which the first tokens are later, at the 95th percentile."""
    return 1000 * (p95(stream.first for stream in through) - p95(stream.first for stream in direct))


def _first_tokens(name: str, added: list[float]) -> Measure:
    low, middle, high = median_interval(added)
    note = f"p95 of 8 streams less the peer's p95, median of {len(added)} pairs, 95 % interval {low:.0f} to {high:.0f}"
    return Measure(name, middle, "ms", "lower", peer="vLLM alone", peer_value=0.0, note=note)


async def throughput(
    at: Site, server: ModelServer, pairs: int, counts: tuple[int, ...], suffix: str = ""
) -> list[Measure]:
    tokenizer = Tokenizer.from_file(str(Path(server.model) / "tokenizer.json"))

    def lengths(round_: list[Stream]) -> list[int]:
        return [len(tokenizer.encode("".join(stream.text)).ids) for stream in round_]

    def rate(round_: list[Stream]) -> float:
        return sum(lengths(round_)) / max(stream.last for stream in round_)

    measures = []
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        timeout=timeout, connector=aiohttp.TCPConnector(limit=0, force_close=True)
    ) as session:
        for count in counts:
            tokens = lengths(await round_of_ours(session, at, count))  # warm-up
            await round_of_peer(session, server, tokens)
            ratios, added, mine, theirs = [], [], [], []
            for pair in range(3 * pairs if count == 1 else pairs):  # a round with one stream is short, and noisier
                if pair % 2:
                    direct = await round_of_peer(session, server, tokens)
                    through = await round_of_ours(session, at, count)
                else:
                    through = await round_of_ours(session, at, count)
                    direct = await round_of_peer(session, server, lengths(through))
                tokens = lengths(through)
                mine.append(rate(through))
                theirs.append(rate(direct))
                ratios.append(mine[-1] / theirs[-1])
                added.append(_added(through, direct))
                print(f"{count} streams, pair {pair + 1}: {mine[-1]:.0f} against {theirs[-1]:.0f} tokens/s, "
                      f"ratio {ratios[-1]:.3f}, first token +{added[-1]:.0f} ms", flush=True)  # fmt: skip
            low, middle, high = median_interval(ratios)
            measures.append(
                Measure(
                    f"throughput_ratio_{count}{suffix}", middle, "ratio", "higher", peer="vLLM alone", peer_value=1.0,
                    note=f"median of {len(ratios)} pairs, 95 % interval {low:.3f} to {high:.3f}; "
                    f"{statistics.median(mine):.0f} against {statistics.median(theirs):.0f} tokens/s",
                )
            )  # fmt: skip
            if count == 8 and not suffix:
                measures.append(_first_tokens("first_token_added_ms_p95_8", added))
                at_once = []
                for _ in range(pairs):
                    through = await round_of_ours(session, at, count, interval=0, seconds=0)
                    direct = await round_of_peer(session, server, [8] * count, interval=0)
                    at_once.append(_added(through, direct))
                measures.append(_first_tokens("first_token_added_ms_p95_8_at_once", at_once))
    return measures


async def carry(at: Site, steps: list[int], seconds: float) -> list[Measure]:
    """Increase the number of streams until the p95 of the delay exceeds 500 ms."""
    timeout = aiohttp.ClientTimeout(total=None)
    at_rest = _resident(at)
    carried, rows, kib = 0, [], 0.0
    async with aiohttp.ClientSession(
        timeout=timeout, connector=aiohttp.TCPConnector(limit=0, force_close=True)
    ) as session:
        for count in steps:
            stories = await prepare(session, at, count, 20_000)
            started = time.perf_counter()
            readers = []
            for story in stories:  # a hundred a second
                readers.append(asyncio.create_task(ours(session, at, story, started, seconds)))
                await asyncio.sleep(0.01)
            await asyncio.sleep(seconds - 3)
            grown = _resident(at) - at_rest
            streams = await asyncio.gather(*readers)
            # without the first third, in which streams start
            delays = [d for s in streams for d in s.delays[len(s.delays) // 3 :] if d >= 0]
            silent = sum(1 for stream in streams if not stream.delays)
            delay = p95(delays) if delays else float("inf")
            rows.append(f"{count}: p95 {delay:.0f} ms" + (f", {silent} silent" if silent else ""))
            print(rows[-1], flush=True)
            await _stop_all(session, at, stories)
            if delay > 500 or silent:
                break
            carried, kib = count, grown / 1024 / count
    machine = "upstream, narrator, web server and reader on the same machine"
    return [
        Measure("streams_within_500ms", carried, "streams", "higher", note="; ".join(rows) + f"; {machine}"),
        Measure("memory_per_stream_kib", round(kib, 1), "KiB", "lower",
                note=f"resident memory of web server and narrator at {carried} streams, minus that without streams, per stream"),
    ]  # fmt: skip


def _resident(at: Site) -> int:
    """Return the resident bytes of the web server and the narrator."""
    pages = [int(Path(f"/proc/{at.pids[name]}/statm").read_text().split()[1]) for name in ("web", "narrator")]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


async def _stop_all(session: aiohttp.ClientSession, at: Site, stories: list[str]) -> None:
    for story in stories:
        async with session.get(f"{at.url}/api/stories/{story}", headers=at.headers) as answer:
            generation = (await answer.json())["generation"]["id"]
        async with session.post(f"{at.url}/api/generations/{generation}/stop", headers=at.headers) as answer:
            await answer.read()
    await asyncio.sleep(3)


@contextmanager
def model_server(folder: Path, name: str) -> Iterator[ModelServer]:
    """Start the model server that `make run` starts for a model."""
    server = ModelServer(str(folder), name)
    with Path(os.devnull).open("wb") as nowhere:
        server.start(stdout=nowhere)
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()


@contextmanager
def scripted_upstream() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "tests.upstream.server", "--port", str(port), "--rate", "30", "--stamps",
               "--name", "demo/model"]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=30, help="the duration of each step of the capacity test")
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 200, 300, 400, 500, 600])
    parser.add_argument("--only", choices=["throughput", "carry", "starter"])
    parser.add_argument("--starter", type=Path, default=STARTER, help="the folder of the starter model")
    parser.add_argument(
        "--miniature", action="store_true", help="one pair with 1 and with 8 streams, and a capacity test with 20"
    )
    options = parser.parse_args()
    counts: tuple[int, ...] = (1, 8, 32)
    if options.miniature:
        counts, options.pairs, options.seconds, options.steps = (1, 8), 1, 12, [20]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which shells ignore in background processes
    measures: list[Measure] = []
    settings: dict[str, Any] = {"words": WORDS, "pairs": options.pairs}
    if options.only in (None, "throughput"):
        with model_server(ROOT / "demo/model", "demo/model") as server:
            settings["model server"] = server.reported_command()
            with running_site(server.url, server.key) as at:
                measures += asyncio.run(throughput(at, server, options.pairs, counts))
    if options.only in (None, "starter"):
        if options.starter.is_dir():
            folder = options.starter.resolve()
            with model_server(folder, str(folder)) as server:
                settings["model server of the starter model"] = server.reported_command().replace(
                    str(folder), folder.name
                )
                with running_site(server.url, server.key, str(folder)) as at:
                    measures += asyncio.run(throughput(at, server, options.pairs, (8,), "_starter"))
        else:
            missing = "the starter model is not there: `make run` fetches it"
            measures.append(Measure("throughput_ratio_8_starter", None, "ratio", "higher", note=missing))
    if options.only in (None, "carry"):
        with scripted_upstream() as url, running_site(url, "") as at:
            measures += asyncio.run(carry(at, options.steps, options.seconds))
    name = "streaming-starter" if options.only == "starter" else "streaming"
    write(name, measures, settings, miniature=options.miniature)


if __name__ == "__main__":
    main()
