"""A client of a running service, for the commands that look at it."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import trio

from lakehouse.cli.configuration import load_configuration
from lakehouse.cli.output import write_diagnostic
from lakehouse.cli.smoke_request import authorization
from lakehouse.config.urls import BaseURL, separate_credentials
from lakehouse.core.errors import ErrNotFound, LakehouseError
from lakehouse.core.groups import unwrap_single
from lakehouse.runtime.service_address import service_address
from lakehouse.upstream.address import parse_base_url
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.pool import Upstream

RESPONSE_TIMEOUT = 5.0
"""Seconds to wait for a response. The service itself waits one second for a worker that does not answer."""

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of a response. Ten thousand requests in flight are 5 MB."""


class _Error(msgspec.Struct, frozen=True, kw_only=True):
    message: str


class _ErrorEnvelope(msgspec.Struct, frozen=True, kw_only=True):
    error: _Error


class ServiceClient:
    """Calls a service at `url`, with `headers` in each request."""

    def __init__(self, url: BaseURL, upstream: Upstream, headers: list[tuple[bytes, bytes]]) -> None:
        self.url = url
        self._upstream = upstream
        self._headers = headers

    @property
    def token(self) -> str | None:
        """The bearer token of each request, None without one."""
        sent = dict(self._headers).get(b"authorization", b"").decode("utf-8", "surrogateescape")
        return sent.removeprefix("Bearer ") or None

    async def call(self, method: str, path: str) -> bytes:
        """The body of a response with status 200. Raises LakehouseError, which is ErrNotFound for a 404."""
        target = self._upstream.base_path + path.encode()
        with await self._upstream.send(UpstreamRequest(method.encode(), target, self._headers, None)) as response:
            body = await response.read(MAX_ANSWER)
        if response.status == 200:
            return body
        if response.status == 401:
            raise LakehouseError("it asks for a token: put one into $LAKEHOUSE_TOKEN")
        message = _message_of(body) or f"it answers with status {response.status}"
        raise (ErrNotFound if response.status == 404 else LakehouseError)(message)


def run_with_service(
    name: str,
    arguments: argparse.Namespace,
    work: Callable[[ServiceClient], Awaitable[int]],
    *,
    response_timeout: float = RESPONSE_TIMEOUT,
) -> int:
    """Run the work of the command `name` with a client of the service. Returns 1 if the service fails.

    The service is the one at `arguments.url`, or without it the one of the configuration. `response_timeout` is in
    seconds.
    """
    config = load_configuration(arguments).config
    url = arguments.url or service_address(config)
    try:
        shown = separate_credentials(url)
        parse_base_url(shown)
    except ValueError as error:
        write_diagnostic(f"lakehouse {name}: {error}")
        return 2
    try:
        return trio.run(_connect, shown, authorization(config.auth), work, response_timeout)
    except (LakehouseError, msgspec.DecodeError, BaseExceptionGroup) as raised:
        match unwrap_single(raised):
            case LakehouseError(message=message):
                write_diagnostic(f"lakehouse {name}: {shown}: {message}")
            case msgspec.DecodeError():
                write_diagnostic(f"lakehouse {name}: {shown} answers, but not as this service does")
            case _:
                raise
    return 1


async def _connect(
    url: BaseURL,
    headers: list[tuple[bytes, bytes]],
    work: Callable[[ServiceClient], Awaitable[int]],
    response_timeout: float,
) -> int:
    async with open_client(url, headers, response_timeout=response_timeout) as client:
        return await work(client)


@asynccontextmanager
async def open_client(
    url: BaseURL, headers: list[tuple[bytes, bytes]], *, response_timeout: float = RESPONSE_TIMEOUT
) -> AsyncIterator[ServiceClient]:
    """A client of the service at `url`, for the block. `response_timeout` is in seconds."""
    upstream = Upstream(url, name="the service", connect_timeout=RESPONSE_TIMEOUT, response_timeout=response_timeout)
    try:
        yield ServiceClient(url, upstream, headers)
    finally:
        upstream.close()


def _message_of(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_ErrorEnvelope).error.message
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
