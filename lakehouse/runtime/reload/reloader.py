"""Reloads, one after the other: read the configuration, check it as `lakehouse check` does, apply what differs.

All or nothing: whatever fails, or is cancelled, before the new configuration is applied has changed nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
import trio

from lakehouse.config import Config, ConfigError
from lakehouse.config.document import decode_config, encode_config
from lakehouse.core.errors import ErrNotImplemented
from lakehouse.runtime.preflight import find_problems
from lakehouse.runtime.reload.changes import Changes, compare_configs

logger = logging.getLogger("lakehouse.reload")

ReadConfig = Callable[[], Config]
"""Reads the configuration as the start did, options of the command line included. Raises ConfigError."""

Apply = Callable[[Config], Awaitable[Sequence[str]]]
"""Puts a configuration in force, and returns the keys whose secrets were others. Raises with nothing changed."""


class ReloadReport(msgspec.Struct, frozen=True, kw_only=True):
    """The keys with new values, and those that keep their former ones until the service is started again."""

    changed: Sequence[str]
    needs_restart: Sequence[str]


class Reloader:
    """Reloads the configuration of one service. `apply` is set before the service is started."""

    apply: Apply

    def __init__(self, running: Config, env: Mapping[str, str], read: ReadConfig | None) -> None:
        """Without `read`, the configuration is a program's own, and cannot be read again."""
        self.running = running
        """The configuration in force."""
        self._env = env
        self._read = read
        self._lock = trio.Lock()

    async def reload(self) -> ReloadReport:
        """Reload, after any reload that is under way.

        Raises ConfigError with every problem, ErrNotImplemented for a configuration that has no file, and
        ErrUnavailable if a worker does not answer; then nothing has changed.
        """
        if self._read is None:
            raise ErrNotImplemented("the configuration of this service is given by a program, which must restart it")
        async with self._lock:
            changes = await trio.to_thread.run_sync(self._read_and_compare, self._read, abandon_on_cancel=True)
            secrets = await self.apply(changes.effective)
            self.running = changes.effective
        report = ReloadReport(
            changed=tuple(dict.fromkeys((*changes.changed, *secrets))), needs_restart=changes.needs_restart
        )
        logger.info("%s", describe(report))
        return report

    def _read_and_compare(self, read: ReadConfig) -> Changes:
        """Raises ConfigError with the problems of the configuration, and of its parts that can be reloaded."""
        try:
            new = read()
        except ConfigError as error:
            further = [] if error.readable is None else find_problems(error.readable, self._env)
            raise ConfigError(error.problems + further) from None
        changes = compare_configs(self.running, new)
        problems = find_problems(new, self._env)
        if changes.needs_restart:
            problems += _find_mixed_problems(changes.effective, self._env)
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)))
        return changes


def _find_mixed_problems(effective: Config, env: Mapping[str, str]) -> list[str]:
    """The problems of a configuration of new and former values, which was in no file."""
    try:
        decode_config(encode_config(effective))  # with the checks across keys
    except ConfigError as error:
        return error.problems
    return find_problems(effective, env)


def describe(report: ReloadReport) -> str:
    """A sentence about a reload, for the log and the terminal."""
    changed = f"changed: {', '.join(report.changed)}" if report.changed else "nothing has changed"
    restart = f"; a restart is needed for {', '.join(report.needs_restart)}" if report.needs_restart else ""
    return f"the configuration was reloaded; {changed}{restart}"
