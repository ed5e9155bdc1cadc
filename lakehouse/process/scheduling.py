"""The scheduling policy of a process that others call over a socket."""

from __future__ import annotations

import os
from contextlib import suppress


def wake_without_preemption() -> None:
    """Let this process, when it is woken, wait for its turn on a busy core (SCHED_BATCH).

    The caller that has sent one request then goes on and sends more, and all of them are answered in one turn: fewer
    context switches, and larger batches. An idle core is taken at once as before. Children start with the usual policy.
    """
    with suppress(OSError, AttributeError):  # a sandbox that forbids it; a system without it
        os.sched_setscheduler(0, os.SCHED_BATCH | os.SCHED_RESET_ON_FORK, os.sched_param(0))


def wake_thread_at_once() -> None:
    """Let this thread run as soon as what it waits for is there, such as a sync of the disk (SCHED_OTHER)."""
    with suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
