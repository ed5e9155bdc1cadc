"""What is measured: an engine with its servers, and the service in front of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tools.kit.engine_leaving.left_work import Work


async def find_nothing() -> str:
    """Nothing is left that would have to be looked for."""
    return ""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """An engine that runs: the configuration of a service that uses it, and what its clients ask."""

    tables: Mapping[str, Mapping[str, object]]
    works: Sequence[Work]
    pids: Sequence[int] = ()
    """The servers beside the service; their children count as well."""
    before: Sequence[bytes] = ()
    """Requests that are answered before anything is measured."""
    find_rest: Callable[[], Awaitable[str]] = find_nothing
    """Says what a client that has left has left behind; empty if nothing."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine. `open` starts its servers in a folder, for the length of the stack."""

    title: str
    find_missing: Callable[[], Sequence[str]]
    open: Callable[[Path, ExitStack], Setup]
