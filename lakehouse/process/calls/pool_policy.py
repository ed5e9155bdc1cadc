"""The sizes and timeouts of a pool."""

from __future__ import annotations

from dataclasses import dataclass

from lakehouse.process.calls.frames import MAX_FRAME
from lakehouse.process.spec import RestartPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPolicy:
    """Sizes of a pool, and its timeouts in seconds.

    The pool has at most `size` children; `prestart` of them are kept running, the others are started on demand. At
    most `max_waiting` calls wait for a child, each for at most `queue_timeout`, or until the child that is being
    started for it is ready: a busy machine starts children slowly. A cancelled call has `reset_timeout` to stop in
    its child; with 0 the child is killed at once. A child that could use the processors for less than half of that
    time, because other processes did, has up to `max_reset_timeout`. A child is replaced after `max_calls` calls,
    with 0 never. `max_frame` is the maximum size of a request, an item and a result, in bytes.
    """

    size: int
    prestart: int = 0
    max_waiting: int = 64
    queue_timeout: float = 10.0
    reset_timeout: float = 0.05
    max_reset_timeout: float = 0.2
    max_calls: int = 0
    max_frame: int = MAX_FRAME
    restart: RestartPolicy = RestartPolicy()

    def __post_init__(self) -> None:
        if not 0 <= self.prestart <= self.size or self.size < 1 or self.max_waiting < 0:
            raise ValueError("a pool has at least one child, prestart is at most size, and max_waiting is not negative")
