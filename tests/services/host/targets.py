"""Targets of the services process in these tests: real processes with scripted services in them."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from lakehouse.asgi import request_scope
from lakehouse.asgi.responses import send_json
from lakehouse.asgi.router import Methods, Route, Router
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.config import Config
from lakehouse.core.errors import ErrConflict
from lakehouse.process.bootstrap import Startup
from lakehouse.services.host.composition import OpenServices
from lakehouse.services.host.process import run_host
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.telemetry.gauges import Gauge
from lakehouse.telemetry.metric_store import Family

ROWS = Family("storaged_test_rows", "gauge", "Rows of a scripted service.", ("kind",))


def scripted(startup: Startup) -> None:
    """Serve `open_scripted`."""
    run_host(startup, open_scripted)


def dies_at_the_start(_: Startup) -> None:
    """End before the process is ready."""
    os._exit(3)


@asynccontextmanager
async def open_scripted(directory: LakeDirectory, _config: Config) -> AsyncIterator[OpenServices]:
    """A storaged whose paths say what they do, and a queryd that answers on its prefix alone."""
    (directory.path / "opened").write_text(str(os.getpid()))
    gauge = Gauge(ROWS, lambda: [(("read",), 7.0)])
    try:
        yield OpenServices({"storaged": make_storaged(directory), "queryd": describe}, (gauge,))
    finally:
        (directory.path / "closed").write_text("in good order")


def make_storaged(directory: LakeDirectory) -> Router:
    """The paths of a storaged, each with and without the version."""

    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        request_scope.get(scope).context.begin_phase("scanning")
        (directory.path / "hanging").touch()
        try:
            await trio.sleep_forever()
        finally:
            (directory.path / "cancelled").touch()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        (directory.path / "slow").touch()
        while not (directory.path / "go").exists():
            await trio.sleep(0.01)
        await send_json(send, 200, {"slow": True})

    apps = {"who": describe, "hang": hang, "slow": slow, "die": die, "conflict": conflict, "begin": begin}
    return Router(
        Route(f"{version}/storage/{name}".encode(), Methods(GET=app, POST=app))
        for name, app in apps.items()
        for version in ("", "/v1")
    )


async def describe(scope: Scope, receive: Receive, send: Send) -> None:
    """Say who answers, and what of the request arrived."""
    document = {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "path": scope["path"],
        "root_path": scope["root_path"],
        "environment": sorted(os.environ),
    }
    await send_json(send, 200, document)


async def die(scope: Scope, receive: Receive, send: Send) -> None:
    """Be killed in the middle of a request."""
    os.kill(os.getpid(), signal.SIGKILL)
    await trio.sleep_forever()


async def conflict(scope: Scope, receive: Receive, send: Send) -> None:
    """Fail as services do."""
    raise ErrConflict("the name is taken", details={"name": "a"})


async def begin(scope: Scope, receive: Receive, send: Send) -> None:
    """Begin a response and be killed."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"some", "more_body": True})
    os.kill(os.getpid(), signal.SIGKILL)
