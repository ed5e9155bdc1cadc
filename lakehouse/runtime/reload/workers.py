"""A reload over several workers, in two phases, led by their supervisor.

    POST /v1/reload ── worker ──reload──> supervisor      reads and checks the file (`reloader`)
    SIGHUP ─────────────────────────────> supervisor ──prepare──> every worker   opens a generation, or says why not
                                                     ──commit───> every worker   gives it the new requests
                                                     └─abort────> every worker   closes it: one of them has failed

A worker that starts gets the configuration that is in force. One that has started with a former one, and was not asked
to prepare, drains, and its successor has the new one.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import trio

from lakehouse.config import Config, ConfigError
from lakehouse.config.document import encode_config
from lakehouse.core.errors import ErrUnavailable, LakehouseError
from lakehouse.process.spec import ChildSpec
from lakehouse.process.supervision.slot import Slot
from lakehouse.runtime.reload.orders import (
    ABORT,
    COMMIT,
    COMMIT_TIMEOUT,
    DONE,
    PREPARE,
    PREPARE_TIMEOUT,
    RELOAD,
    Order,
    Outcome,
    Prepared,
    supervisor_socket,
)
from lakehouse.runtime.reload.reloader import ReloadReport
from lakehouse.telemetry.log import Log
from lakehouse.telemetry.worker_ipc import send_query, serve_queries, worker_socket

logger = logging.getLogger("lakehouse.reload")

_REPLIES = msgspec.json.Decoder(Prepared)


async def serve_workers(
    directory: Path,
    reload: Callable[[], Awaitable[ReloadReport]],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer `ask_supervisor` of the workers until cancelled."""

    async def answer(_: bytes) -> bytes:
        try:
            outcome = Outcome(report=await reload())
        except ConfigError as error:
            outcome = Outcome(problems=error.problems)
        except LakehouseError as error:
            outcome = Outcome(failure=error.message)
        return msgspec.json.encode(outcome)

    await serve_queries(supervisor_socket(directory), {RELOAD: answer}, task_status=task_status)


class WorkerGroup:
    """The workers of one supervisor, as `Reloader.apply` has them.

    `make_spec` makes the specification of a worker by its index, with the configuration in force.
    """

    def __init__(
        self, slots: Sequence[Slot], directory: Path, make_spec: Callable[[int, Config], ChildSpec], log: Log
    ) -> None:
        """`log` is that of this process."""
        self._slots = slots
        self._log = log
        self._directory = directory
        self._make_spec = make_spec
        self._number = 0

    async def apply(self, config: Config) -> Sequence[str]:
        """Put a configuration in force in all workers. Returns the keys whose secrets were others in any of them.

        Raises ConfigError and ErrUnavailable with nothing changed, also when cancelled before the commit.
        """
        self._number += 1
        workers = [index for index, slot in enumerate(self._slots) if slot.child is not None]
        try:
            changed = await self._prepare(workers, config)
        except BaseException:
            await self._send(workers, ABORT, Order(number=self._number), timeout=COMMIT_TIMEOUT, shielded=True)
            raise
        await self._commit(workers, config)
        return changed

    async def _prepare(self, workers: Sequence[int], config: Config) -> Sequence[str]:
        order = Order(number=self._number, config=msgspec.Raw(encode_config(config)))
        replies = await self._send(workers, PREPARE, order, timeout=PREPARE_TIMEOUT + 1)
        decoded = {worker: _REPLIES.decode(data) for worker, data in replies.items() if data is not None}
        if problems := dict.fromkeys(problem for reply in decoded.values() for problem in reply.problems):
            raise ConfigError(list(problems))
        if silent := [worker for worker in workers if worker not in decoded]:
            names = ", ".join(map(str, silent))
            raise ErrUnavailable(f"nothing has changed: no reply from worker {names}", retry_after=1)
        return list(dict.fromkeys(key for reply in decoded.values() for key in reply.changed))

    async def _commit(self, workers: Sequence[int], config: Config) -> None:
        """From the first step on, which waits for nothing, the configuration is in force."""
        for index, slot in enumerate(self._slots):
            slot.spec = self._make_spec(index, config)
        self._log.change_format(config.observe.log)
        replies = await self._send(workers, COMMIT, Order(number=self._number), timeout=COMMIT_TIMEOUT, shielded=True)
        for index, slot in enumerate(self._slots):
            if slot.child is not None and replies.get(index) != DONE:
                logger.warning("worker %d has not taken the new configuration: it drains, and is replaced", index)
                slot.child.terminate()

    async def _send(
        self, workers: Sequence[int], query: str, order: Order, *, timeout: float, shielded: bool = False
    ) -> Mapping[int, bytes | None]:
        """The replies that have come after `timeout` seconds. `shielded`: a cancellation waits for them."""
        replies: dict[int, bytes | None] = {}
        argument = msgspec.json.encode(order)

        async def send(worker: int) -> None:
            replies[worker] = await send_query(worker_socket(self._directory, worker), query, argument, timeout=timeout)

        with trio.CancelScope(shield=shielded, relative_deadline=timeout):
            async with trio.open_nursery() as nursery:
                for worker in workers:
                    nursery.start_soon(send, worker)
        return replies
