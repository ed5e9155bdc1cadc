"""The work of `lakehouse top`: shows sessions and the requests in flight of a running service, live in the terminal."""

from __future__ import annotations

import argparse
import io
import sys
from functools import partial

import msgspec
import trio
from trio.abc import ReceiveChannel, SendChannel

from lakehouse.cli.output import write_diagnostic, write_output
from lakehouse.cli.service_client import ServiceClient, run_with_service
from lakehouse.core.errors import ErrNotFound, LakehouseError
from lakehouse.core.extras import install_hint, missing_modules

SESSIONS = 50
"""Sessions that are asked for: more than a screen has lines for."""


def run(arguments: argparse.Namespace) -> int:
    """Show the requests until interrupted, or once if the output is not a terminal. Returns 1 if the service fails."""
    if absent := missing_modules("rich"):
        write_diagnostic(f"lakehouse top {install_hint('top', absent)}")
        return 1
    live = not arguments.once and sys.stdout.isatty()
    return run_with_service("top", arguments, partial(_show_live, arguments.interval) if live else _show_once)


async def _fetch(service: ServiceClient) -> tuple[bytes, bytes]:
    """The documents of the requests and of the sessions; a data service alone has no sessions."""
    requests = await service.call("GET", "/v1/requests")
    try:
        return requests, await service.call("GET", f"/v1/sessions?tree=1&limit={SESSIONS}")
    except ErrNotFound:
        return requests, b'{"sessions":[],"total":0}'


async def _show_once(service: ServiceClient) -> int:
    from rich.console import Console

    from lakehouse.cli.request_table import decode_listing, render_screen
    from lakehouse.cli.session_documents import Sessions

    requests, sessions = await _fetch(service)
    terminal = Console()
    with io.StringIO() as written:
        console = Console(file=written, width=terminal.width, force_terminal=terminal.is_terminal)
        shown = msgspec.json.decode(sessions, type=Sessions).sessions
        console.print(render_screen(decode_listing(requests), url=service.url, width=console.width, sessions=shown))
        write_output(written.getvalue(), end="")
    return 0


async def _show_live(interval: float, service: ServiceClient) -> int:
    """Update the screen each `interval` seconds and after each key, until `q` is pressed."""
    from rich.live import Live

    from lakehouse.cli.request_table import HEAD_LINES, decode_listing, render_screen, select_sessions
    from lakehouse.cli.session_documents import Sessions
    from lakehouse.cli.top_keys import Selection, raw_keys

    documents = await _fetch(service)
    with raw_keys() as has_keys, Live(screen=True, auto_refresh=False) as live:
        async with trio.open_nursery() as nursery:
            send, receive = trio.open_memory_channel[str](16)
            nursery.start_soon(_send_keys, send, has_keys)
            selection = Selection(message="") if not has_keys else Selection()
            while not selection.quit:
                sessions = msgspec.json.decode(documents[1], type=Sessions).sessions
                screen = render_screen(
                    decode_listing(documents[0]),
                    url=service.url,
                    width=live.console.width,
                    rows=max(1, live.console.height - HEAD_LINES),
                    sessions=sessions,
                    selected=selection.session,
                    message=selection.message,
                )
                live.update(screen, refresh=True)
                key = await _wait_for_key(receive, interval)
                if key is not None:
                    shown = [session.id for session in select_sessions(sessions)]
                    if (stopped := selection.press(key, shown)) is not None:
                        selection.message = await _stop(service, stopped)
                        documents = await _fetch(service)
                else:
                    documents = await _fetch(service)
            nursery.cancel_scope.cancel()
    return 0


async def _send_keys(send: SendChannel[str], has_keys: bool) -> None:
    from lakehouse.cli.top_keys import read_keys

    if has_keys:
        async for key in read_keys():
            await send.send(key)
    await trio.sleep_forever()


async def _wait_for_key(keys: ReceiveChannel[str], seconds: float) -> str | None:
    with trio.move_on_after(seconds):
        return await keys.receive()
    return None


async def _stop(service: ServiceClient, session: str) -> str:
    from lakehouse.cli.session_documents import Receipt
    from lakehouse.cli.sessions import stop_session

    try:
        return msgspec.json.decode(await stop_session(service, session), type=Receipt).describe()
    except LakehouseError as error:
        return error.message
