"""Rounds of kills under load; after each, everything is compared with the ledgers of the clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import trio

from tools.kit.lake_crashes.killer import Killer
from tools.kit.lake_crashes.report import CrashReport
from tools.kit.lake_crashes.requests import LakeClient, NoAnswer
from tools.kit.lake_crashes.service import LakeService, find_descendants, wait_ended
from tools.kit.lake_crashes.writer import Writer

ROUND = 10
"""Kills between two comparisons."""


class CrashRounds:
    """The rounds. `writers` are the clients with ledgers, `readers` read meanwhile until an event is set."""

    def __init__(self, service: LakeService, client: LakeClient, report: CrashReport, killer: Killer) -> None:
        self.service = service
        self.client = client
        self.report = report
        self.writers: list[Writer[Any]] = []
        self.readers: list[Callable[[trio.Event], Awaitable[None]]] = []
        self._killer = killer

    async def run(self, victims: Sequence[str]) -> None:
        """Rounds of kills, then the end: the folder without a process, and the lake once more."""
        await self._killer.probe()
        for start in range(0, len(victims), ROUND):
            await self._run_round(victims[start : start + ROUND])
        await self._stop()
        await self.check_stopped()
        await self.service.start()
        await self.check()
        await self._stop()
        await self.check_stopped()

    async def check(self) -> None:
        """Compare everything with the ledgers."""
        for writer in self.writers:
            await writer.check()

    async def check_stopped(self) -> None:
        """Look at the folder, which no process has open."""

    async def _run_round(self, victims: Sequence[str]) -> None:
        over = trio.Event()
        async with trio.open_nursery() as nursery:
            for writer in self.writers:
                nursery.start_soon(writer.work, over)
            for read_on in self.readers:
                nursery.start_soon(read_on, over)
            await self._killer.kill(victims)
            over.set()
        await self.check()

    async def _stop(self) -> None:
        processes = list(find_descendants(self.service.pid))
        status = await self.service.stop()
        if status != 0:
            self.report.wrong.append(f"the service ended with exit status {status}")
        if orphans := await wait_ended(processes):
            self.report.wrong.append(f"{len(orphans)} processes run after the end of the service")


MakeRounds = Callable[[LakeService, LakeClient, CrashReport], CrashRounds]


async def run_rounds(folder: Path, victims: Sequence[str], make_rounds: MakeRounds) -> CrashReport:
    """Run a service on a new lake in `folder`, and kill these of its processes."""
    report = CrashReport()
    service = LakeService(folder)
    await service.start()
    try:
        async with httpx.AsyncClient(timeout=None, trust_env=False) as http:
            rounds = make_rounds(service, LakeClient(service, http), report)
            try:
                await rounds.run(victims)
            except* (NoAnswer, trio.TooSlowError) as group:
                report.wrong += [f"{type(error).__name__}: {error}" for error in _flatten(group)]
    finally:
        with trio.CancelScope(shield=True, relative_deadline=30):
            await service.kill(list(find_descendants(service.pid)), gateway=True)
        service.close()
    return report


def _flatten(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _flatten(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
