"""SIGHUP: a reload of the configuration; or the end of the service, if its terminal is gone."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from signal import SIG_IGN, SIGHUP, getsignal

import trio

from lakehouse.config import ConfigError
from lakehouse.core.errors import LakehouseError
from lakehouse.runtime.reload.reloader import ReloadReport

logger = logging.getLogger("lakehouse.reload")


async def reload_at_sighup(
    reload: Callable[[], Awaitable[ReloadReport]],
    stopping: trio.Event,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Reload at each SIGHUP until cancelled; signals that arrive during a reload cause one more. For the main thread.

    A problem is logged. A program that was started on a terminal gets the signal when that is closed, and drains then,
    unless it was started with the signal ignored, as `nohup` does.
    """
    leaves_with_terminal = getsignal(SIGHUP) != SIG_IGN and _has_terminal()
    with trio.open_signal_receiver(SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            if leaves_with_terminal and not _has_terminal():
                logger.info("the terminal is gone: the service stops")
                stopping.set()
                return
            try:
                await reload()
            except ConfigError as error:
                for problem in error.problems:
                    logger.error("the configuration was not reloaded: %s", problem)
            except LakehouseError as error:
                logger.error("the configuration was not reloaded: %s", error.message)


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
