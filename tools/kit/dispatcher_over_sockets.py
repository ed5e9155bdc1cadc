"""A dispatcher over its own connection pool, in front of a scripted Ollama on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

from lakehouse.chat.dispatch.dispatcher import ServiceDispatcher
from lakehouse.chat.dispatch.open_dispatcher import open_service_dispatcher
from lakehouse.testing.upstreams import (
    ScriptedUpstream,
    UpstreamScript,
    open_upstream,
)
from tools.kit.fake_providers import ollama_answer, settings

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"


def chunked(*chunks: bytes, end: bool = True) -> bytes:
    return HEAD + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + (b"0\r\n\r\n" if end else b"")


def ollama_body(text: str = "Hello.") -> bytes:
    [(_, content)] = ollama_answer(text).chunks
    assert isinstance(content, bytes)
    return content


@asynccontextmanager
async def open_dispatcher_over_sockets(
    script: UpstreamScript, *, policy: Mapping[str, Any] | None = None, **chatd: Any
) -> AsyncIterator[tuple[ServiceDispatcher, ScriptedUpstream]]:
    """A dispatcher before a scripted Ollama. At the end no connection is busy."""
    with trio.fail_after(20):
        async with open_upstream(script) as ollama:
            config = settings(ollama_url=ollama.url, policy=policy, **chatd)
            async with open_service_dispatcher(config, env={}) as dispatcher:
                yield dispatcher, ollama
                assert [pool.in_use for pool in dispatcher.pools] == [0] * len(dispatcher.pools)
