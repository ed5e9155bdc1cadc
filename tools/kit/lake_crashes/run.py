"""Kills of a lake's processes while clients write objects and tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

from tools.kit.lake_crashes.batches import BatchWriter
from tools.kit.lake_crashes.folder import check_folder, sweep_datasets
from tools.kit.lake_crashes.killer import UNRECOVERED, Killer, Ready
from tools.kit.lake_crashes.objects import ObjectWriter
from tools.kit.lake_crashes.report import CrashReport
from tools.kit.lake_crashes.requests import LakeClient, Request
from tools.kit.lake_crashes.rounds import CrashRounds, run_rounds
from tools.kit.lake_crashes.service import LakeService
from tools.kit.lake_crashes.table_writer import TableWriter


async def run_crashes(
    folder: Path,
    victims: Sequence[str],
    *,
    seed: int,
    object_writers: int = 2,
    table_writers: int = 3,
    unrecovered: float = UNRECOVERED,
    ready: Ready = lambda _: True,
) -> CrashReport:
    """Kill processes of a service on a new lake in `folder`: `victims` are roles of `killer.VICTIMS`.

    The first kill waits until the report is `ready`.
    """

    def make_rounds(service: LakeService, client: LakeClient, report: CrashReport) -> CrashRounds:
        killer = Killer(service, client, report, Random(f"{seed}.killer"), unrecovered, ready)
        crashes = Crashes(service, client, report, killer, seed)
        crashes.add_writers(object_writers, table_writers)
        return crashes

    return await run_rounds(folder, victims, make_rounds)


class Crashes(CrashRounds):
    """The clients of objects and tables."""

    def __init__(
        self, service: LakeService, client: LakeClient, report: CrashReport, killer: Killer, seed: int
    ) -> None:
        super().__init__(service, client, report, killer)
        self._seed = seed
        self._table_writers: list[TableWriter] = []
        batches = BatchWriter(client, report, Random(f"{seed}.batches"))
        self._batches = batches
        self.writers.append(batches)
        self.readers.append(batches.read_on)

    def add_writers(self, object_writers: int, table_writers: int) -> None:
        """Add so many clients."""
        for name in (f"objects{number}" for number in range(object_writers)):
            self.writers.append(ObjectWriter(name, self.client, self.report, Random(f"{self._seed}.{name}")))
        for name in (f"t{number}" for number in range(table_writers)):
            writer = TableWriter(name, self.client, self.report, Random(f"{self._seed}.{name}"))
            self._table_writers.append(writer)
            self.writers.append(writer)

    async def check_stopped(self) -> None:
        """The folder has nothing in it that nobody uses."""
        check_folder(self.service.lake, self.report)
        await sweep_datasets(self.service.lake, self.report)

    async def check(self) -> None:
        """Also the names: the catalog has no tables but those of the ledgers, the storage the objects of each."""
        await super().check()
        reply = await self.client.read(Request("GET", "/v1/catalog/list"))
        names = {manifest["name"] for manifest in reply.json()["manifests"]}
        expected = {"probe", "batches"}.union(*(writer.state for writer in self._table_writers))
        self.report.checks["lists of the catalog"] += 1
        if names != expected:
            self.report.wrong.append(f"the catalog lists {sorted(names ^ expected)} wrongly")
        listed = await self.client.read(Request("GET", "/v1/storage/list?prefix=datasets/"))
        keys = {entry["key"]: entry["size"] for entry in listed.json()["objects"]}
        for manifest in reply.json()["manifests"]:
            for entry in manifest["objects"]:
                if keys.get(entry["key"]) != entry["size"]:
                    self.report.wrong.append(f"the storage does not list {entry}")
