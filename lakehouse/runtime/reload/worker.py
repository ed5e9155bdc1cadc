"""A worker's part of a reload: it asks the supervisor for one, and takes part in the two phases of each."""

from __future__ import annotations

from pathlib import Path

import msgspec
import trio

from lakehouse.config import ConfigError
from lakehouse.config.document import decode_config
from lakehouse.core.errors import ErrUnavailable
from lakehouse.runtime.generations import Generations
from lakehouse.runtime.reload.orders import (
    ABORT,
    COMMIT,
    DONE,
    PREPARE,
    PREPARE_TIMEOUT,
    REFUSED,
    RELOAD,
    RELOAD_TIMEOUT,
    Order,
    Outcome,
    Prepared,
    supervisor_socket,
)
from lakehouse.runtime.reload.reloader import ReloadReport
from lakehouse.telemetry.worker_ipc import WorkerIPC, send_query

_ORDERS = msgspec.json.Decoder(Order)
_OUTCOMES = msgspec.json.Decoder(Outcome)


async def ask_supervisor(directory: Path) -> ReloadReport:
    """Have the configuration of all workers reloaded.

    Raises ConfigError with every problem, and ErrUnavailable. Cancelled, the reload goes on in the supervisor.
    """
    data = await send_query(supervisor_socket(directory), RELOAD, timeout=RELOAD_TIMEOUT)
    if data is None:
        raise ErrUnavailable("the supervisor of the workers did not answer", retry_after=1)
    outcome = _OUTCOMES.decode(data)
    if outcome.problems:
        raise ConfigError(list(outcome.problems))
    if outcome.report is None:
        raise ErrUnavailable(outcome.failure, retry_after=1)
    return outcome.report


class WorkerReload:
    """The replies of a worker to the orders of its supervisor."""

    def __init__(self, generations: Generations, worker_ipc: WorkerIPC) -> None:
        self._generations = generations
        self._lock = trio.Lock()
        self._prepared = self._aborted = 0
        """The numbers of reloads, which begin with 1."""
        worker_ipc.register(PREPARE, self._prepare)
        worker_ipc.register(COMMIT, self._commit)
        worker_ipc.register(ABORT, self._abort)

    async def _prepare(self, argument: bytes) -> bytes:
        """Raises TooSlowError: then nothing is prepared, and the supervisor gets no reply."""
        order = _ORDERS.decode(argument)
        async with self._lock:
            self._prepared = 0
            try:
                with trio.fail_after(PREPARE_TIMEOUT):
                    changed = await self._generations.prepare(decode_config(bytes(order.config)))
            except ConfigError as error:
                return msgspec.json.encode(Prepared(problems=error.problems))
            self._prepared = order.number
            if order.number <= self._aborted:  # another worker has failed in the meantime
                self._drop()
            return msgspec.json.encode(Prepared(changed=changed))

    def _commit(self, argument: bytes) -> bytes:
        if _ORDERS.decode(argument).number != self._prepared:
            return REFUSED
        self._prepared = 0
        self._generations.commit()
        return DONE

    def _abort(self, argument: bytes) -> bytes:
        self._aborted = _ORDERS.decode(argument).number
        if self._prepared == self._aborted:
            self._drop()
        return DONE

    def _drop(self) -> None:
        self._prepared = 0
        self._generations.abort()
