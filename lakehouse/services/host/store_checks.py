"""What `lakehouse check` says about the stores that services share: what answers there now, and whether that fits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import trio

from lakehouse.config import Config
from lakehouse.core.errors import LakehouseError
from lakehouse.services.host.databases import open_databases
from lakehouse.services.host.vector_stores import find_problem, open_store
from lakehouse.services.postgres.session import Session

CHECK_SECONDS = 8.0


async def describe_stores(config: Config, environment: Mapping[str, str]) -> Mapping[str, str]:
    """The stores of indexes, traces and operations by name, those that the configuration has; asked at once."""
    found: dict[str, str] = {}

    async def describe(name: str, call: Callable[[], Awaitable[str]]) -> None:
        found[name] = await call()

    async with trio.open_nursery() as nursery:
        if config.vectord.store:
            nursery.start_soon(describe, "indexes", partial(describe_store, config, environment))
        for name, url in (("traces", config.pathwayd.store), ("operations", config.observerd.store)):
            if url:
                nursery.start_soon(describe, name, partial(_describe_database, url, config, environment))
    return {name: found[name] for name in ("indexes", "traces", "operations") if name in found}


async def describe_store(config: Config, environment: Mapping[str, str]) -> str:
    """The store of the indexes as it answers now: its version, and whether that fits, or why it fails."""
    vectord = config.vectord
    if problem := find_problem(vectord):
        return f"{vectord.store}: {problem}"

    async def check() -> str:
        status = await store.check()
        return f"{status.version}, " + (f"does not fit: {status.problem}" if status.problem else "fits")

    async with (
        open_databases(config.lake, environment) as databases,
        open_store(config, environment, databases) as store,
    ):
        return await _ask(vectord.store, check)


async def _describe_database(url: str, config: Config, environment: Mapping[str, str]) -> str:
    """The database of a URL as it answers now: its version, or why it fails. An older one than fits is refused."""

    async def check() -> str:
        return f"PostgreSQL {await databases.find(url).run(_read_version)}, fits"

    async with open_databases(config.lake, environment) as databases:
        return await _ask(url, check)


async def _ask(url: str, check: Callable[[], Awaitable[str]]) -> str:
    """What a check says of the server of a URL, or why it says nothing within `CHECK_SECONDS`."""
    try:
        with trio.fail_after(CHECK_SECONDS):
            return f"{url}: {await check()}"
    except LakehouseError as error:
        return f"{url}: {error.message}"
    except trio.TooSlowError:
        return f"{url}: no answer within {CHECK_SECONDS:g} s"


def _read_version(session: Session) -> str:
    ((version,),) = session.fetch("SHOW server_version")
    return str(version)
