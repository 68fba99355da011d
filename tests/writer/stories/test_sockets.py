"""The reader's socket, through uvicorn, PostgreSQL and Redis."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
import redis
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.test import Client
from pytest_django import Settings
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.cast import Site, write
from workers.embedded.redis import Redis as RedisServer
from writer.accounts.models import ApiToken, User
from writer.stories import hub as hubs
from writer.stories import sockets
from writer.stories.models import Chunk, Generation, State
from writer.stories.operations import control
from writer.stories.operations.delete_story import delete_story
from writer.stories.text import sha256
from writer.stories.wake import call_readers, generation_channel

pytestmark = pytest.mark.django_db(transaction=True)
SignIn = Callable[..., Client]


def cookie(client: Client) -> dict[str, str]:
    return {"Cookie": f"sessionid={client.cookies['sessionid'].value}"}


def publish(generation: Generation, seq: int) -> None:
    """What a narrator tells Redis after the commit of a chunk."""
    chunk = Chunk.objects.get(generation=generation, seq=seq)
    message = {
        "type": "chunk",
        "first": seq,
        "seq": seq,
        "channel": chunk.channel,
        "start": chunk.start,
        "text": chunk.text,
    }
    body = json.dumps(message | {"words": 7})
    redis.Redis.from_url(django_settings.REDIS_URL).publish(generation_channel(generation.pk), f"{seq} {body}")


async def heard(socket: ClientConnection, *, within: float = 10.0) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), within))
    return message


async def until(socket: ClientConnection, kind: str, *, within: float = 10.0) -> list[dict[str, Any]]:
    """Everything up to the next message of this kind."""
    messages: list[dict[str, Any]] = []
    async with asyncio.timeout(within):
        while not messages or messages[-1]["type"] != kind:
            messages.append(json.loads(await socket.recv()))
    return messages


def reading(site: Site, generation: Generation, client: Client, after: int = 0) -> connect:
    address = f"{site.sockets}{generation.pk}?after={after}"
    return connect(address, origin=site.origin, additional_headers=cookie(client))  # type: ignore[arg-type]


async def test_it_catches_up_follows_and_ends(site: Site, owner: User, generation: Generation, sign_in: SignIn) -> None:
    client = await sync_to_async(sign_in)(owner)
    await sync_to_async(write)(generation, "One", " two", " 🌊.")
    async with reading(site, generation, client, after=1) as socket:
        state = await heard(socket)
        assert (state["type"], state["state"], state["last_seq"], state["target"]) == ("state", "running", 3, 600)
        assert set(state) == {
            "type", "state", "wish", "ending", "notice", "place", "words", "target", "last_seq", "revision", "model_ready"
        }  # fmt: skip
        chunk = await heard(socket)
        assert (chunk["first"], chunk["seq"], chunk["start"], chunk["text"]) == (2, 3, 3, " two 🌊.")
        await sync_to_async(write)(generation, "\n\nNext")
        await sync_to_async(publish)(generation, 4)
        live = await heard(socket, within=1)
        assert (live["first"], live["text"], live["words"]) == (4, "\n\nNext", 7)
        await sync_to_async(write)(generation, " one.", state=State.DONE)
        await sync_to_async(publish)(generation, 5)
        await sync_to_async(call_readers)(generation.pk)
        *_, end = await until(socket, "end", within=2)
        text = "One two 🌊.\n\nNext one."
        assert (end["state"], end["ending"], end["last_seq"]) == ("done", "ended", 5)
        assert (end["chars"], end["sha256"]) == (len(text), sha256(text))
        await socket.send('{"after": 0}')
        again = await until(socket, "end")
        assert "".join(message["text"] for message in again if message["type"] == "chunk") == text


async def test_lost_late_and_repeated_calls_change_nothing(
    site: Site, owner: User, generation: Generation, sign_in: SignIn
) -> None:
    client = await sync_to_async(sign_in)(owner)
    await sync_to_async(write)(generation, "One")
    async with reading(site, generation, client) as socket:
        await until(socket, "chunk")
        await sync_to_async(write)(generation, " two", " three")
        await sync_to_async(publish)(generation, 3)  # the call about 2 is lost
        both = await heard(socket, within=1)
        assert (both["first"], both["seq"], both["text"]) == (2, 3, " two three")
        for seq in (2, 3, 1):
            await sync_to_async(publish)(generation, seq)
        await sync_to_async(write)(generation, " four")  # and of this one nobody calls at all
        messages = await until(socket, "heartbeat", within=hubs.HEARTBEAT * 2 + 2)
        while messages[-1]["last_seq"] < 4:
            messages += await until(socket, "heartbeat", within=hubs.HEARTBEAT * 2)
        assert [message["text"] for message in messages if message["type"] == "chunk"] == [" four"]


async def test_a_state_is_told_and_a_continued_story_goes_on_in_the_same_socket(
    site: Site, owner: User, generation: Generation, sign_in: SignIn
) -> None:
    client = await sync_to_async(sign_in)(owner)
    async with reading(site, generation, client) as socket:
        first = await heard(socket)
        assert (first["state"], first["place"]) == ("queued", 1)
        await sync_to_async(control.pause)(user=owner, generation=generation)
        *_, end = await until(socket, "end", within=2)
        assert (end["state"], end["chars"], end["sha256"]) == ("paused", 0, sha256(""))
        await sync_to_async(control.continue_)(user=owner, generation=generation)
        assert (await heard(socket, within=2))["state"] == "queued"
        await sync_to_async(write)(generation, "Now.", state=State.DONE)
        await sync_to_async(call_readers)(generation.pk)
        messages = await until(socket, "end", within=2)
        assert [message["type"] for message in messages] == ["state", "chunk", "end"]


async def test_who_gets_no_socket(
    site: Site, owner: User, stranger: User, generation: Generation, sign_in: SignIn
) -> None:
    address = f"{site.sockets}{generation.pk}"
    mine, theirs = await sync_to_async(sign_in)(owner), await sync_to_async(sign_in)(stranger)

    async def status(address: str, headers: dict[str, str], origin: str | None) -> tuple[int, bytes]:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(address, origin=origin, additional_headers=headers):  # type: ignore[arg-type]
                pass
        return refused.value.response.status_code, bytes(refused.value.response.body or b"")

    for origin in ("http://evil.example", "http://localhost:1", "null", None):
        assert (await status(address, cookie(mine), origin))[0] == 403, origin
    missing = await status(f"{site.sockets}{uuid4()}", cookie(theirs), site.origin)
    assert missing == await status(address, cookie(theirs), site.origin)
    assert missing[0] == 404
    assert (await status(f"ws://{site.host}/ws/elsewhere", cookie(mine), site.origin))[0] == 404
    assert (await status(f"{address}?after=-1", cookie(mine), site.origin))[0] == 400
    assert (await status(address, {"Authorization": "Bearer lh_wrong"}, None))[0] == 401
    _, secret = await sync_to_async(ApiToken.issue)(owner, "script")
    token = {"Authorization": f"Bearer {secret}"}
    assert (await status(address, token, "http://evil.example"))[0] == 403
    async with connect(address, additional_headers=token) as socket:
        assert (await heard(socket))["type"] == "state"


async def test_a_page_that_is_signed_out_is_told_so(site: Site, generation: Generation) -> None:
    async with connect(f"{site.sockets}{generation.pk}", origin=site.origin) as socket:  # type: ignore[arg-type]
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


async def test_a_deleted_story_closes_its_sockets(
    site: Site, owner: User, generation: Generation, sign_in: SignIn
) -> None:
    client = await sync_to_async(sign_in)(owner)
    async with reading(site, generation, client) as socket:
        await heard(socket)
        await sync_to_async(delete_story)(user=owner, story_id=generation.story_id)
        with pytest.raises(ConnectionClosed) as closed:
            await until(socket, "never")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4404


@pytest.mark.parametrize("message", ["nonsense", '{"after": -1}', '{"after": "x"}', "{}", "[]"])
async def test_nonsense_ends_the_socket(
    message: str, site: Site, owner: User, generation: Generation, sign_in: SignIn
) -> None:
    client = await sync_to_async(sign_in)(owner)
    async with reading(site, generation, client) as socket:
        await heard(socket)
        await socket.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            await until(socket, "never")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4400


@pytest.mark.processes
async def test_redis_dies_and_comes_back(
    site: Site,
    owner: User,
    generation: Generation,
    sign_in: SignIn,
    settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    await sync_to_async(server.prepare)()
    process = await sync_to_async(server.start)(stdout=subprocess.DEVNULL)
    await sync_to_async(server.wait_ready)()
    settings.REDIS_URL = server.url
    try:
        client = await sync_to_async(sign_in)(owner)
        async with reading(site, generation, client) as socket:
            await heard(socket)
            os.kill(process.pid, signal.SIGKILL)
            await sync_to_async(write)(generation, "Without Redis")
            messages = await until(socket, "chunk", within=2 * hubs.HEARTBEAT + 3)
            assert messages[-1]["text"] == "Without Redis"
            await sync_to_async(server.stop)()
            await sync_to_async(server.start)(stdout=subprocess.DEVNULL)
            await sync_to_async(server.wait_ready)()
            again = redis.Redis.from_url(server.url)
            async with asyncio.timeout(10):
                while not again.pubsub_numsub(generation_channel(generation.pk))[0][1]:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            await sync_to_async(write)(generation, " and with it")
            await sync_to_async(publish)(generation, 2)
            messages = await until(socket, "chunk", within=2)
            assert messages[-1]["text"] == " and with it"
    finally:
        await sync_to_async(server.stop)()


@pytest.mark.parametrize(("loss", "code"), [("nothing", 4408), ("session", 4401), ("account", 4401)])
async def test_rights_are_looked_at_again(
    loss: str,
    code: int,
    site: Site,
    owner: User,
    generation: Generation,
    sign_in: SignIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sockets, "RIGHTS_SECONDS", 0.7)
    client = await sync_to_async(sign_in)(owner)
    async with reading(site, generation, client) as socket:
        await heard(socket)
        if loss == "session":
            await sync_to_async(client.logout)()
        elif loss == "account":
            await sync_to_async(User.objects.filter(pk=owner.pk).update)(is_active=False)
        with pytest.raises(ConnectionClosed) as closed:
            await until(socket, "never")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code


async def test_a_slow_reader_gets_the_rest_in_one_piece(generation: Generation) -> None:
    """A client that takes nothing holds nobody up; what it missed comes merged from PostgreSQL."""
    sent: list[dict[str, Any]] = []
    open_valve = asyncio.Event()

    async def send(event: Any) -> None:
        sent.append(json.loads(event["text"]))
        await open_valve.wait()

    await sync_to_async(write)(generation, *(f"w{number} " for number in range(200)))
    reader = sockets.Reader(generation.pk, 0, send)
    reader.watch = hubs.Watch(generation.pk)
    reader.watch.row = (await sync_to_async(hubs.read_rows)([generation.pk], beat=False))[generation.pk]._replace(
        last_seq=0
    )
    running = asyncio.create_task(reader.run())
    reader.look()
    for seq in range(1, 201):
        reader.offer(seq, json.dumps({"type": "chunk", "first": seq, "seq": seq}))
    assert len(reader._waiting) <= sockets.MOST_WAITING
    await asyncio.sleep(0.05)
    open_valve.set()
    async with asyncio.timeout(10):
        while sent[-1].get("seq") != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    running.cancel()
    chunks = [message for message in sent if message["type"] == "chunk"]
    assert len(chunks) < 5
    assert chunks[0]["first"] == 1
    for before, after in pairwise(chunks):
        assert after["first"] == before["seq"] + 1


async def test_many_windows_of_one_story_are_one_subscription(
    site: Site, owner: User, generation: Generation, sign_in: SignIn
) -> None:
    client = await sync_to_async(sign_in)(owner)
    async with AsyncExitStack() as stack:
        windows = [await stack.enter_async_context(reading(site, generation, client)) for _ in range(5)]
        for window in windows:
            await heard(window)
        (_, subscribers), *_ = redis.Redis.from_url(django_settings.REDIS_URL).pubsub_numsub(
            generation_channel(generation.pk)
        )
        assert subscribers == 1
        await sync_to_async(write)(generation, "One")
        await sync_to_async(publish)(generation, 1)
        for window in windows:
            assert (await until(window, "chunk", within=2))[-1]["text"] == "One"


async def test_whoever_joins_while_redis_is_only_being_reached_hears_too() -> None:
    ours = hubs.Hub()
    make, late = ours._pool.make_connection, Listener()
    joined: list[asyncio.Task[hubs.Watch]] = []

    def make_slowly() -> Any:
        connection = make()
        send = connection.send_command

        async def send_command(*command: Any, **how: Any) -> None:
            if not joined and command[0] == "SUBSCRIBE":
                joined.append(asyncio.create_task(ours.join(uuid4(), late)))
                await asyncio.sleep(0.05)
            await send(*command, **how)

        connection.send_command = send_command
        return connection

    ours._pool.make_connection = make_slowly  # type: ignore[method-assign]
    early = Listener()
    watches = [await ours.join(uuid4(), early)]
    async with asyncio.timeout(5):
        while not joined:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        watches.append(await joined[0])
        for watch in watches:
            await watch.subscribed.wait()
            redis.Redis.from_url(django_settings.REDIS_URL).publish(watch.channel, "1 {}")
        while not (early.heard and late.heard):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    for watch, listener in zip(watches, (early, late), strict=True):
        await ours.leave(watch, listener)


class Listener:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def offer(self, seq: int, message: str) -> None:
        self.heard.append(f"{seq} {message}")

    def look(self, *, beat: bool = False) -> None: ...

    def doubt(self) -> None: ...
