"""The service under test: in the test's own nursery, on a free port, with a client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import trio

from lakehouse.config import Config, parse_config
from lakehouse.runtime.reload.reloader import ReadConfig
from lakehouse.runtime.service import run_service
from lakehouse.server.server import Service
from lakehouse.telemetry.log import Log


def make_config(**tables: Any) -> Config:
    """A configuration from TOML's values: a free port, no log lines, no local Ollama unless it is said."""
    document = {
        **tables,
        "gateway": {"bind": "127.0.0.1:0"} | tables.get("gateway", {}),
        "chatd": {"ollama_url": ""} | tables.get("chatd", {}),
        "observe": {"log": "off"} | tables.get("observe", {}),
    }
    return parse_config(document).config


@asynccontextmanager
async def open_service(
    config: Config,
    env: Mapping[str, str] | None = None,
    log: Log | None = None,
    read_config: ReadConfig | None = None,
) -> AsyncIterator[Service]:
    """The service for the block; drained at its end. It can be reloaded with `read_config`."""
    async with trio.open_nursery() as nursery:
        service = await nursery.start(partial(run_service, config, env=env or {}, log=log, read_config=read_config))
        yield service
        service.stop()


@asynccontextmanager
async def client_of(service: Service, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose base URL is the service's."""
    async with httpx.AsyncClient(base_url=service.urls[0], timeout=60, trust_env=False, **options) as client:
        yield client
