"""The whole application under Hypercorn as it comes: what we promise there, and that it is not more than we keep.

What stock Hypercorn makes impossible is in the README: stalled readers, pipelined requests that hide a leaving client,
malformed requests that end the worker. None of that is tried here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import hypercorn
import hypercorn.trio
import pytest
import trio

from lakehouse.runtime.quart_app import create_app
from tools.kit.faults.provider import Provider, open_provider
from tools.kit.in_process_service import make_config
from tools.kit.lifetime.daemon import Daemon, open_daemon
from tools.kit.lifetime.phases import chat_request, get_request, post_request
from tools.kit.lifetime.testbed import SLOW, Client

PATIENCE = 10.0


@dataclass
class Stock:
    """The application under Hypercorn at `port`, with everything that it asks."""

    port: int
    provider: Provider
    daemon: Daemon

    async def client(self) -> Client:
        return Client(await trio.open_tcp_stream("127.0.0.1", self.port))

    async def asked(self, key: str) -> None:
        """Wait until an upstream was."""
        while not self._visits(key):
            await trio.sleep(0.001)

    async def left(self, key: str) -> float:
        """Wait until the upstream was left; when that was."""
        while self._visits(key)[-1].client_left is None:
            await trio.sleep(0.001)
        left: float | None = self._visits(key)[-1].client_left
        assert left is not None
        return left

    def _visits(self, key: str) -> list[Any]:
        return self.provider.requests.by_model(key) or self.daemon.requests.by_model(key)


@asynccontextmanager
async def stock(**tables: dict[str, object]) -> AsyncIterator[Stock]:
    """For the block; at its end Hypercorn shuts down in peace, and nothing of ours is left."""
    with trio.fail_after(PATIENCE):
        async with open_provider(SLOW) as models, open_daemon() as there:
            tasks = trio.lowlevel.current_statistics().tasks_living
            config = make_config(
                **{
                    **tables,
                    "gateway": {"storaged_url": there.url},
                    "chatd": {"ollama_url": models.url, **tables.get("chatd", {})},
                }
            )
            settings = hypercorn.Config()
            settings.bind = ["127.0.0.1:0"]
            settings.graceful_timeout = 0.3
            settings.keep_alive_timeout = 5
            settings.errorlog = logging.getLogger("tests.hypercorn")
            stop = trio.Event()
            async with trio.open_nursery() as nursery:
                app: Any = create_app(config)
                serve: Any = partial(hypercorn.trio.serve, app, settings, shutdown_trigger=stop.wait)
                (url,) = await nursery.start(serve)
                yield Stock(int(url.rpartition(":")[2]), models, there)
                stop.set()
            while models.open or there.open or trio.lowlevel.current_statistics().tasks_living > tasks:
                await trio.sleep(0.001)


REQUESTS = {
    "gateway": ("silent/x", get_request("silent/x")),
    "gateway, body up": ("silent/x", post_request("/v1/storage/silent/x", 1000) + b"half"),
    "gateway, body down": ("endless/x", get_request("endless/x")),
    "chat, whole": ("silent.x", chat_request("silent.x")),
    "chat, stream": ("stall.x", chat_request("stall.x", stream=True)),
    "OpenAI's form, stream": ("stall.x", chat_request("stall.x", stream=True, path="/v1/chat/completions")),
    "chat, fallback": ("silent.x", chat_request("500-always.x", fallbacks=["silent.x"])),
}


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("name", REQUESTS)
async def test_a_client_that_leaves_ends_what_was_done_for_it(name: str, how: str) -> None:
    key, request = REQUESTS[name]
    async with stock() as served, await served.client() as client:
        await client.send(request)
        await served.asked(key)
        await trio.sleep(0.01)
        began = trio.current_time()
        client.leave(how)
        assert await served.left(key) - began < 0.25


@pytest.mark.parametrize("name", ["gateway", "chat, whole", "chat, fallback"])
async def test_a_deadline_is_answered_with_504_in_time(name: str) -> None:
    key, request = REQUESTS[name]
    request = request.replace(b"\r\n", b"\r\nX-Request-Timeout-Ms: 300\r\n", 1)
    async with stock() as served, await served.client() as client:
        began = time.perf_counter()
        await client.send(request)
        await client.until(b"\r\n\r\n")
        assert 0.29 <= time.perf_counter() - began <= 0.5
        assert client.said.startswith(b"HTTP/1.1 504 ")
        await served.left(key)


async def test_a_deadline_cuts_an_answer_that_has_begun() -> None:
    async with stock() as served, await served.client() as client:
        await client.send(get_request("endless/x", "X-Request-Timeout-Ms: 200\r\n"))
        said = await client.rest()
        assert said.startswith(b"HTTP/1.1 200 ")
        assert not said.endswith(b"0\r\n\r\n")
        await served.left("endless/x")


async def offer(client: Client, data: bytes) -> None:
    """Send, as far as it is taken."""
    with suppress(trio.BrokenResourceError):
        await client.send(data)


EARLY = {"404": "/v1/nothing", "405": "/v1/models", "413": "/v1/chat", "401": "/v1/storage/ok/x"}
TOKEN = "Authorization: Bearer secret\r\n"


@pytest.mark.parametrize("size", [20_000, 3_000_000])
@pytest.mark.parametrize("status", EARLY)
async def test_an_early_answer_before_an_unread_body_hangs_nothing(
    status: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that came with its head is in nobody's way: the connection goes on. Where more of it is on its way,
    Hypercorn ends the connection, as it may; what it may not is wait for somebody to read."""
    monkeypatch.setenv("LAKEHOUSE_TOKEN", "secret")
    request = post_request(EARLY[status], size, "" if status == "401" else TOKEN) + bytes(size)
    async with stock(chatd={"max_body": 10_000}) as served, await served.client() as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(offer, client, request)
            await client.until(b"}}")
            nursery.cancel_scope.cancel()
        assert client.said.startswith(f"HTTP/1.1 {status} ".encode())
        again = client if size < 60_000 else await served.client()
        async with again:
            again.said = b""
            await again.send(get_request("ok/after", TOKEN + "Connection: close\r\n"))
            said = await again.rest()
        assert said.startswith(b"HTTP/1.1 200 ")
        assert said.endswith(b"ok")


async def test_answers_follow_each_other_on_one_connection() -> None:
    async with stock() as served, await served.client() as client:
        for turn in range(3):
            client.said = b""
            await client.send(get_request(f"ok/{turn}"))
            await client.until(b"ok")
            client.said = b""
            await client.send(chat_request(f"ok.{turn}"))
            await client.until(b'"attempts":[{')
            client.said = b""
            await client.send(chat_request(f"ok.s{turn}", stream=True))
            await client.until(b"0\r\n\r\n")
            assert b'"type":"done"' in client.said
