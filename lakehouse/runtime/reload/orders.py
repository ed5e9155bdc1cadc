"""What a supervisor and its workers tell each other about a reload, over the sockets in their directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from lakehouse.runtime.reload.reloader import ReloadReport

RELOAD, PREPARE, COMMIT, ABORT = "reload", "prepare_reload", "commit_reload", "abort_reload"
"""The queries: the first of a worker, the others of the supervisor."""

PREPARE_TIMEOUT = 10.0
"""Seconds in which a worker opens a generation. It reads the files with keys, and connects to nothing."""

COMMIT_TIMEOUT = 5.0
"""Seconds in which a worker replies that it has given requests to the generation, which takes a millisecond."""

RELOAD_TIMEOUT = 30.0
"""Seconds that a worker waits for the supervisor: more than both phases, and a reload before this one, take."""

DONE, REFUSED = b"true", b"false"
"""The replies to `COMMIT`."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The number of a reload, and for `PREPARE` its configuration."""

    number: int
    config: msgspec.Raw = msgspec.Raw(b"null")


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's reply to `PREPARE`: problems, or else the keys whose secrets were others."""

    changed: Sequence[str] = ()
    problems: Sequence[str] = ()


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The supervisor's reply: a report, the problems of the configuration, or the reason of another failure."""

    report: ReloadReport | None = None
    problems: Sequence[str] = ()
    failure: str = ""


def supervisor_socket(directory: Path) -> Path:
    """The socket of the supervisor in the directory of the workers, whose own sockets end in `.sock`."""
    return directory / "supervisor"
