"""What time limits do, and what they must not do."""

from __future__ import annotations

from collections.abc import Callable

import trio

from tools.kit.lifetime.phases import chat_request, get_request
from tools.kit.lifetime.testbed import ServiceTestbed, open_testbed

DEADLINE = 0.3
"""Seconds that a caller allows."""

STALL = 0.5
"""Seconds that a reader may take nothing."""

SILENT: dict[str, Callable[[str, str], bytes]] = {
    "gateway": lambda tag, more: get_request(f"silent/{tag}", more),
    "chat, whole": lambda tag, more: chat_request(f"silent.{tag}", more),
    "chat, stream": lambda tag, more: chat_request(f"silent.{tag}", more, stream=True),
    "OpenAI's form, whole": lambda tag, more: chat_request(f"silent.{tag}", more, path="/v1/chat/completions"),
    "OpenAI's form, stream": lambda tag, more: chat_request(
        f"silent.{tag}", more, path="/v1/chat/completions", stream=True
    ),
    "chat, three silent routes": lambda tag, more: chat_request(
        f"silent.1.{tag}", more, fallbacks=[f"silent.2.{tag}", f"silent.3.{tag}"]
    ),
}
"""Requests that wait for an upstream that says nothing."""


async def answered_late(stage: ServiceTestbed, request: Callable[[str, str], bytes]) -> tuple[float, bytes]:
    """Seconds until a request with `DEADLINE` was answered, and its status line."""
    async with await stage.client() as client:
        began = trio.current_time()
        await client.send(request(stage.tag(), f"X-Request-Timeout-Ms: {DEADLINE * 1000:.0f}\r\n"))
        await client.until(b"\r\n\r\n")
        return trio.current_time() - began, client.said.partition(b"\r\n")[0]


async def stalled_reader() -> float:
    """Seconds from a reader's last reading to the moment in which its upstream was left."""
    async with open_testbed(gateway={"idle_timeout": STALL}) as stage, await stage.client() as client:
        await client.send(get_request("flood/stalled"))
        await client.until(b"xxx")
        began = trio.current_time()
        return await stage.wait_abandoned("flood/stalled") - began


async def healthy_stream(stage: ServiceTestbed, model: str, more: str) -> tuple[float, bytes]:
    """Seconds that a stream of a chat lasted, and all that was said."""
    async with await stage.client() as client:
        began = trio.current_time()
        await client.send(chat_request(model, more + "Connection: close\r\n", stream=True))
        await client.rest()
        return trio.current_time() - began, client.said
