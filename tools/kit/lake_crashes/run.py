"""Rounds of kills under load; after each, everything is compared with the ledgers of the clients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import httpx
import trio

from tools.kit.lake_crashes.batches import BatchWriter
from tools.kit.lake_crashes.folder import check_folder, sweep_datasets
from tools.kit.lake_crashes.killer import UNRECOVERED, Killer
from tools.kit.lake_crashes.objects import ObjectWriter
from tools.kit.lake_crashes.report import CrashReport
from tools.kit.lake_crashes.requests import LakeClient, NoAnswer, Request
from tools.kit.lake_crashes.service import LakeService, find_descendants, wait_ended
from tools.kit.lake_crashes.table_writer import TableWriter

ROUND = 10
"""Kills between two comparisons."""


async def run_crashes(
    folder: Path,
    victims: Sequence[str],
    *,
    seed: int,
    object_writers: int = 2,
    table_writers: int = 3,
    unrecovered: float = UNRECOVERED,
) -> CrashReport:
    """Kill processes of a service on a new lake in `folder`: `victims` are roles of `killer.VICTIMS`."""
    report = CrashReport()
    service = LakeService(folder)
    await service.start()
    try:
        async with httpx.AsyncClient(timeout=None, trust_env=False) as http:
            client = LakeClient(service, http)
            killer = Killer(service, client, report, Random(f"{seed}.killer"), unrecovered)
            crashes = Crashes(service, client, report, killer, seed)
            crashes.add_writers(object_writers, table_writers)
            try:
                await crashes.run(victims)
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


class Crashes:
    """The clients, and the rounds."""

    def __init__(
        self, service: LakeService, client: LakeClient, report: CrashReport, killer: Killer, seed: int
    ) -> None:
        self._service = service
        self._report = report
        self._client = client
        self._killer = killer
        self._seed = seed
        self._batches = BatchWriter(client, report, Random(f"{seed}.batches"))
        self._object_writers: list[ObjectWriter] = []
        self._table_writers: list[TableWriter] = []

    def add_writers(self, object_writers: int, table_writers: int) -> None:
        """Add so many clients."""
        for name in (f"objects{number}" for number in range(object_writers)):
            random = Random(f"{self._seed}.{name}")
            self._object_writers.append(ObjectWriter(name, self._client, self._report, random))
        for name in (f"t{number}" for number in range(table_writers)):
            random = Random(f"{self._seed}.{name}")
            self._table_writers.append(TableWriter(name, self._client, self._report, random))

    async def run(self, victims: Sequence[str]) -> None:
        """Rounds of kills, then the end: the folder without a process, and the lake once more."""
        await self._killer.probe()
        for start in range(0, len(victims), ROUND):
            await self._run_round(victims[start : start + ROUND])
        await self._stop()
        check_folder(self._service.lake, self._report)
        await sweep_datasets(self._service.lake, self._report)
        await self._service.start()
        await self._check()
        await self._stop()
        check_folder(self._service.lake, self._report)

    async def _run_round(self, victims: Sequence[str]) -> None:
        over = trio.Event()
        async with trio.open_nursery() as nursery:
            for writer in self._object_writers:
                nursery.start_soon(writer.work, over)
            for each in self._table_writers:
                nursery.start_soon(each.work, over)
            nursery.start_soon(self._batches.work, over)
            nursery.start_soon(self._batches.read_on, over)
            await self._killer.kill(victims)
            over.set()
        await self._check()

    async def _check(self) -> None:
        for writer in self._object_writers:
            await writer.check()
        for each in self._table_writers:
            await each.check()
        await self._batches.check()
        await self._check_names()

    async def _check_names(self) -> None:
        """The catalog has no tables but those of the ledgers, and the storage has the objects of each."""
        reply = await self._client.read(Request("GET", "/v1/catalog/list"))
        names = {manifest["name"] for manifest in reply.json()["manifests"]}
        expected = {"probe", "batches"}.union(*(writer.state for writer in self._table_writers))
        self._report.checks["lists of the catalog"] += 1
        if names != expected:
            self._report.wrong.append(f"the catalog lists {sorted(names ^ expected)} wrongly")
        listed = await self._client.read(Request("GET", "/v1/storage/list?prefix=datasets/"))
        keys = {entry["key"]: entry["size"] for entry in listed.json()["objects"]}
        for manifest in reply.json()["manifests"]:
            for entry in manifest["objects"]:
                if keys.get(entry["key"]) != entry["size"]:
                    self._report.wrong.append(f"the storage does not list {entry}")

    async def _stop(self) -> None:
        processes = list(find_descendants(self._service.pid))
        status = await self._service.stop()
        if status != 0:
            self._report.wrong.append(f"the service ended with exit status {status}")
        if orphans := await wait_ended(processes):
            self._report.wrong.append(f"{len(orphans)} processes run after the end of the service")
