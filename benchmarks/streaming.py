"""What Longhand costs between the model server and the reader, and how many stories one machine carries.

    python -m benchmarks.streaming [--pairs 9] [--only throughput|carry] [--miniature]

For one stream there are three times as many pairs.

**Throughput.** The peer is the model server alone: the same requests, sent straight to it by the same client, on the same
machine, in turn with ours (A B B A ...). One round of ours asks for N stories and lasts from the first request to the last
word that a WebSocket delivers; the peer's round asks for N completions of just as many tokens and lasts to the last token.
Both are counted as tokens of delivered text per second, by the model's tokenizer. The first token of ours is the first chunk on
the WebSocket, counted from the request that starts the generation; the peer's is the first event with text. The N begin
60 ms after one another, as people do who do not wait for a signal; `first_token_added_ms_p95_8_at_once` has all eight begin in
the same instant.

**Carrying.** A scripted upstream sends each stream 30 words a second, and every word is the time at which it was due. The delay of a
chunk is the time at the reader less that of its last word. Streams, narrator, web server and reader share the machine.
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

from benchmarks.house import House, house
from benchmarks.report import Measure, median_interval, write
from training.serving.process import free_port
from training.serving.vllm import ModelServer

ROOT = Path(__file__).resolve().parent.parent
WORDS = 1000
APART = 0.06
PEER_MOST_TOKENS = 1900
"""What the demo model's context leaves for an answer; a story of ours may be longer, for it is written in several."""
PREMISES = (
    "A lamplighter finds that one of his lamps burns without oil.",
    "Two brothers quarrel over a horse that neither of them owns.",
    "The doctor of a small town receives a letter from a dead patient.",
    "A captain must choose between his ship and a promise.",
)


@dataclass
class Stream:
    """What one reader saw."""

    first: float = 0.0
    last: float = 0.0
    text: list[str] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    ending: str = ""


async def prepare(session: aiohttp.ClientSession, at: House, count: int, words: int) -> list[str]:
    """Make stories that wait for their generation: what a writer has typed before pressing the button."""
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
    session: aiohttp.ClientSession, at: House, story: str, started: float, seconds: float = 3600, wait: float = 0.0
) -> Stream:
    """Start one story after `wait` seconds and read it to its end, or for some seconds, 0 for its first word only."""
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
    """Milliseconds since the last stamped word of the text was due; negative where the text has no stamps."""
    for word in reversed(text.split()):
        if len(stamp := word.rstrip(".")) == 12 and stamp.isdigit():
            return time.monotonic_ns() / 1e6 - int(stamp) / 1e3
    return -1.0


async def peers(
    session: aiohttp.ClientSession, server: ModelServer, index: int, tokens: int, started: float, wait: float
) -> Stream:
    """One completion of the model server itself, of a given number of tokens, after `wait` seconds."""
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
        "max_tokens": min(tokens, PEER_MOST_TOKENS),
        "ignore_eos": True,
        "stream": True,
        "temperature": 0.8,
        "top_p": 0.95,
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
    session: aiohttp.ClientSession, at: House, count: int, apart: float = APART, seconds: float = 3600
) -> list[Stream]:
    stories = await prepare(session, at, count, WORDS)
    started = time.perf_counter()
    streams = await asyncio.gather(
        *(ours(session, at, story, started, seconds, apart * index) for index, story in enumerate(stories))
    )
    if not seconds:
        await _stop_all(session, at, stories)
    return list(streams)


async def round_of_peer(
    session: aiohttp.ClientSession, server: ModelServer, lengths: list[int], apart: float = APART
) -> list[Stream]:
    started = time.perf_counter()
    return list(
        await asyncio.gather(
            *(peers(session, server, index, tokens, started, apart * index) for index, tokens in enumerate(lengths))
        )
    )


def _p95(values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


def _added(through: list[Stream], direct: list[Stream]) -> float:
    """Milliseconds that the first token came later."""
    return 1000 * (_p95([stream.first for stream in through]) - _p95([stream.first for stream in direct]))


def _first_tokens(name: str, added: list[float]) -> Measure:
    low, middle, high = median_interval(added)
    note = f"p95 of 8 streams less the peer's p95, median of {len(added)} pairs, 95 % interval {low:.0f} to {high:.0f}"
    return Measure(name, middle, "ms", "lower", peer="vLLM alone", peer_value=0.0, note=note)


async def throughput(at: House, server: ModelServer, pairs: int, counts: tuple[int, ...]) -> list[Measure]:
    tokenizer = Tokenizer.from_file(str(ROOT / "demo/model/tokenizer.json"))

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
            asked = lengths(await round_of_ours(session, at, count))  # also the warm-up of both
            await round_of_peer(session, server, asked)
            ratios, added, mine, theirs = [], [], [], []
            for pair in range(3 * pairs if count == 1 else pairs):  # a round of one is short, and noisier
                if pair % 2:
                    direct = await round_of_peer(session, server, asked)
                    through = await round_of_ours(session, at, count)
                else:
                    through = await round_of_ours(session, at, count)
                    direct = await round_of_peer(session, server, lengths(through))
                asked = lengths(through)
                mine.append(rate(through))
                theirs.append(rate(direct))
                ratios.append(mine[-1] / theirs[-1])
                added.append(_added(through, direct))
                print(f"{count} streams, pair {pair + 1}: {mine[-1]:.0f} against {theirs[-1]:.0f} tokens/s, "
                      f"ratio {ratios[-1]:.3f}, first token +{added[-1]:.0f} ms", flush=True)  # fmt: skip
            low, middle, high = median_interval(ratios)
            measures.append(
                Measure(
                    f"throughput_ratio_{count}", middle, "ratio", "higher", peer="vLLM alone", peer_value=1.0,
                    note=f"median of {len(ratios)} pairs, 95 % interval {low:.3f} to {high:.3f}; "
                    f"{statistics.median(mine):.0f} against {statistics.median(theirs):.0f} tokens/s",
                )
            )  # fmt: skip
            if count == 8:
                measures.append(_first_tokens("first_token_added_ms_p95_8", added))
                at_once = []
                for _ in range(pairs):
                    through = await round_of_ours(session, at, count, apart=0, seconds=0)
                    direct = await round_of_peer(session, server, [8] * count, apart=0)
                    at_once.append(_added(through, direct))
                measures.append(_first_tokens("first_token_added_ms_p95_8_at_once", at_once))
    return measures


async def carry(at: House, steps: list[int], seconds: float) -> list[Measure]:
    """Add streams in steps until the p95 of the delay passes 500 ms."""
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
            for story in stories:  # a hundred a second: the steady state is measured, not the rush
                readers.append(asyncio.create_task(ours(session, at, story, started, seconds)))
                await asyncio.sleep(0.01)
            await asyncio.sleep(seconds - 3)
            grown = _resident(at) - at_rest
            streams = await asyncio.gather(*readers)
            # The first third of the time is for all of them to have begun.
            delays = [d for s in streams for d in s.delays[len(s.delays) // 3 :] if d >= 0]
            silent = sum(1 for stream in streams if not stream.delays)
            p95 = _p95(delays) if delays else float("inf")
            rows.append(f"{count}: p95 {p95:.0f} ms" + (f", {silent} silent" if silent else ""))
            print(rows[-1], flush=True)
            await _stop_all(session, at, stories)
            if p95 > 500 or silent:
                break
            carried, kib = count, grown / 1024 / count
    machine = "upstream, narrator, web server and reader on the same machine"
    return [
        Measure("streams_within_500ms", carried, "streams", "higher", note="; ".join(rows) + f"; {machine}"),
        Measure("memory_per_stream_kib", round(kib, 1), "KiB", "lower",
                note=f"resident memory of web server and narrator at {carried} streams, less that at rest, by stream"),
    ]  # fmt: skip


def _resident(at: House) -> int:
    """Bytes of memory that the web server and the narrator hold."""
    pages = [int(Path(f"/proc/{at.pids[name]}/statm").read_text().split()[1]) for name in ("web", "narrator")]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


async def _stop_all(session: aiohttp.ClientSession, at: House, stories: list[str]) -> None:
    for story in stories:
        async with session.get(f"{at.url}/api/stories/{story}", headers=at.headers) as answer:
            generation = (await answer.json())["generation"]["id"]
        async with session.post(f"{at.url}/api/generations/{generation}/stop", headers=at.headers) as answer:
            await answer.read()
    await asyncio.sleep(3)


@contextmanager
def model_server() -> Iterator[ModelServer]:
    """The model server that `make run` would start, alone."""
    server = ModelServer(str(ROOT / "demo/model"), "demo/model")
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
    parser.add_argument("--seconds", type=float, default=30, help="how long each step of the carrying test lasts")
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 200, 300, 400, 500, 600])
    parser.add_argument("--only", choices=["throughput", "carry"])
    parser.add_argument("--miniature", action="store_true", help="one pair of 1 and of 8 streams, and 20 to carry")
    options = parser.parse_args()
    counts: tuple[int, ...] = (1, 8, 32)
    if options.miniature:
        counts, options.pairs, options.seconds, options.steps = (1, 8), 1, 12, [20]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it otherwise
    measures: list[Measure] = []
    settings: dict[str, Any] = {"words": WORDS, "pairs": options.pairs}
    if options.only != "carry":
        with model_server() as server:
            settings["model server"] = server.reported_command()
            with house(server.url, server.key) as at:
                measures += asyncio.run(throughput(at, server, options.pairs, counts))
    if options.only != "throughput":
        with scripted_upstream() as url, house(url, "") as at:
            measures += asyncio.run(carry(at, options.steps, options.seconds))
    write("streaming", measures, settings, miniature=options.miniature)


if __name__ == "__main__":
    main()
