"""Which SQL engines are configured, which versions their servers have, and whether they fit."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

import msgspec
import trio

from lakehouse.config import Config
from lakehouse.config.query_engine_tables import REMOTE_ENGINES, list_engines
from lakehouse.core.errors import LakehouseError
from lakehouse.services.engines.remote.clients import make_client
from lakehouse.services.engines.remote.secrets import SecretSource

CHECK_TIME = 5.0
"""Seconds for the answers of all servers, which are asked at once."""


class EngineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An engine on a server. `version` is empty, and `problem` says why, if the server did not say it.

    `needed` are the versions that fit. `default` is the engine of statements that name none.
    """

    name: str
    url: str
    default: bool
    version: str = ""
    fits: bool = False
    needed: str = ""
    problem: str = ""


async def read_engine_statuses(config: Config, environment: Mapping[str, str]) -> tuple[EngineStatus, ...]:
    """Ask the servers of the configured engines, in the order of the configuration, within `CHECK_TIME`."""
    names = [name for name in list_engines(config.queryd) if name in REMOTE_ENGINES]
    found: dict[str, EngineStatus] = {}

    async def ask(name: str) -> None:
        found[name] = await _read_status(name, config, environment)

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(ask, name)
    return tuple(found[name] for name in names)


async def _read_status(name: str, config: Config, environment: Mapping[str, str]) -> EngineStatus:
    queryd = config.queryd
    status = EngineStatus(name=name, url=str(getattr(queryd, name).url), default=queryd.engine == name)
    secrets = None
    try:
        secrets = SecretSource(name, queryd.key_file, environment).load()
        client = make_client(name, queryd, config.lake)
        with closing(client.feeds), trio.move_on_after(CHECK_TIME):
            found = await client.read_version(secrets)
            return msgspec.structs.replace(status, version=found.version, fits=found.fits, needed=found.needed)
    except (LakehouseError, OSError) as error:
        text = str(error) if secrets is None else secrets.redact(str(error))
        return msgspec.structs.replace(status, problem=text)
    return msgspec.structs.replace(status, problem=f"no answer within {CHECK_TIME:g} s")
