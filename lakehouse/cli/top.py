"""The work of `lakehouse top`: shows the requests in flight of a running service, live in the terminal."""

from __future__ import annotations

import argparse
import io
import sys

import msgspec
import trio

from lakehouse.cli.configuration import load_configuration
from lakehouse.cli.output import write_diagnostic, write_output
from lakehouse.cli.smoke_request import authorization
from lakehouse.config import Address, Config
from lakehouse.config.urls import BaseURL, separate_credentials
from lakehouse.core.errors import LakehouseError
from lakehouse.core.extras import install_hint, missing_modules
from lakehouse.upstream.address import parse_base_url
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.pool import Upstream

RESPONSE_TIMEOUT = 5.0
"""Seconds to wait for a response. The service itself waits one second for a worker that does not answer."""

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of a response. Ten thousand requests in flight are 5 MB."""

Headers = list[tuple[bytes, bytes]]


def run(arguments: argparse.Namespace) -> int:
    """Show the requests until interrupted, or once if the output is not a terminal. Returns 1 if the service fails."""
    if absent := missing_modules("rich"):
        write_diagnostic(f"lakehouse top {install_hint('top', absent)}")
        return 1
    config = load_configuration(arguments).config
    url = arguments.url or service_address(config)
    try:
        shown = separate_credentials(url)
        parse_base_url(shown)
    except ValueError as error:
        write_diagnostic(f"lakehouse top: {error}")
        return 2
    live = not arguments.once and sys.stdout.isatty()
    try:
        trio.run(_connect_and_show, shown, authorization(config.auth), arguments.interval if live else None)
    except LakehouseError as error:
        write_diagnostic(f"lakehouse top: {shown}: {error.message}")
        return 1
    except msgspec.DecodeError:
        write_diagnostic(f"lakehouse top: {shown} answers, but not as this service does")
        return 1
    return 0


def service_address(config: Config) -> str:
    """The URL of the service that this configuration starts, for a client on the same machine."""
    host, port = config.gateway.bind
    here = Address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)  # noqa: S104 - what it listens on
    return f"{'https' if config.server.certfile else 'http'}://{here}"


async def _connect_and_show(url: BaseURL, headers: Headers, interval: float | None) -> None:
    service = Upstream(url, name="the service", connect_timeout=RESPONSE_TIMEOUT, response_timeout=RESPONSE_TIMEOUT)
    try:
        body = await _fetch(service, headers)
        await (_show_once(url, body) if interval is None else _show_live(url, body, service, headers, interval))
    finally:
        service.close()


async def _fetch(service: Upstream, headers: Headers) -> bytes:
    with await service.send(UpstreamRequest(b"GET", service.base_path + b"/v1/requests", headers, None)) as response:
        body = await response.read(MAX_ANSWER)
    if response.status == 401:
        raise LakehouseError("it asks for a token: put one into $LAKEHOUSE_TOKEN")
    if response.status != 200:
        raise LakehouseError(f"it answers with status {response.status}")
    return body


async def _show_once(url: str, body: bytes) -> None:
    from rich.console import Console

    from lakehouse.cli.request_table import decode_listing, render_screen

    terminal = Console()
    with io.StringIO() as written:
        console = Console(file=written, width=terminal.width, force_terminal=terminal.is_terminal)
        console.print(render_screen(decode_listing(body), url=url, width=console.width))
        write_output(written.getvalue(), end="")


async def _show_live(url: str, body: bytes, service: Upstream, headers: Headers, interval: float) -> None:
    from rich.live import Live

    from lakehouse.cli.request_table import HEAD_LINES, decode_listing, render_screen

    with Live(screen=True, auto_refresh=False) as live:
        while True:
            rows = max(1, live.console.height - HEAD_LINES)
            live.update(render_screen(decode_listing(body), url=url, width=live.console.width, rows=rows), refresh=True)
            await trio.sleep(interval)
            body = await _fetch(service, headers)
