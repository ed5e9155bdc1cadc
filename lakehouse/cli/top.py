"""`lakehouse top`: the requests in flight, live in the terminal. Asks a running service."""

from __future__ import annotations

import argparse
import io
import sys

import msgspec
import trio

from lakehouse.cli.configuration import settings
from lakehouse.cli.output import say
from lakehouse.cli.smoke_request import authorization
from lakehouse.config import Address, Config
from lakehouse.config.urls import BaseURL, separate
from lakehouse.core.errors import LakehouseError
from lakehouse.core.extras import install_hint, missing_modules
from lakehouse.upstream.address import parse_base_url
from lakehouse.upstream.pool import Upstream
from lakehouse.upstream.request import UpstreamRequest

REQUEST_TIMEOUT = 5.0
"""Seconds that an answer is waited for; the service itself gives a silent worker one."""

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer; ten thousand requests in flight are 5 MB."""

Headers = list[tuple[bytes, bytes]]


def run(arguments: argparse.Namespace) -> int:
    """Show until interrupted, or once when the output is no terminal. 1 when the service does not answer."""
    if absent := missing_modules("rich"):
        print(f"lakehouse top {install_hint('top', absent)}", file=sys.stderr)
        return 1
    config = settings(arguments).config
    url = arguments.url or where(config)
    try:
        shown = separate(url)
        parse_base_url(shown)
    except ValueError as error:
        print(f"lakehouse top: {error}", file=sys.stderr)
        return 2
    live = not arguments.once and sys.stdout.isatty()
    try:
        trio.run(_show, shown, authorization(config.auth), arguments.interval if live else None)
    except LakehouseError as error:
        print(f"lakehouse top: {shown}: {error.message}", file=sys.stderr)
        return 1
    except msgspec.DecodeError:
        print(f"lakehouse top: {shown} answers, but not as this service does", file=sys.stderr)
        return 1
    return 0


def where(config: Config) -> str:
    """The address of the service that this configuration starts, as it is reached from the same machine."""
    host, port = config.gateway.bind
    here = Address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)  # noqa: S104 - what it listens on
    return f"{'https' if config.server.certfile else 'http'}://{here}"


async def _show(url: BaseURL, headers: Headers, interval: float | None) -> None:
    service = Upstream(url, name="the service", connect_timeout=REQUEST_TIMEOUT, response_timeout=REQUEST_TIMEOUT)
    try:
        body = await _ask(service, headers)
        await (_once(url, body) if interval is None else _live(url, body, service, headers, interval))
    finally:
        service.close()


async def _ask(service: Upstream, headers: Headers) -> bytes:
    with await service.send(UpstreamRequest(b"GET", service.base_path + b"/v1/requests", headers, None)) as response:
        body = await response.read(MAX_ANSWER)
    if response.status == 401:
        raise LakehouseError("it asks for a token: put one into $LAKEHOUSE_TOKEN")
    if response.status != 200:
        raise LakehouseError(f"it answers with status {response.status}")
    return body


async def _once(url: str, body: bytes) -> None:
    from rich.console import Console

    from lakehouse.cli.request_table import listing, screen

    terminal = Console()
    with io.StringIO() as written:
        console = Console(file=written, width=terminal.width, force_terminal=terminal.is_terminal)
        console.print(screen(listing(body), url=url, width=console.width))
        say(written.getvalue(), end="")


async def _live(url: str, body: bytes, service: Upstream, headers: Headers, interval: float) -> None:
    from rich.live import Live

    from lakehouse.cli.request_table import HEAD_LINES, listing, screen

    with Live(screen=True, auto_refresh=False) as live:
        while True:
            rows = max(1, live.console.height - HEAD_LINES)
            live.update(screen(listing(body), url=url, width=live.console.width, rows=rows), refresh=True)
            await trio.sleep(interval)
            body = await _ask(service, headers)
