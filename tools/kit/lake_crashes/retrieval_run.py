"""Kills of a lake's processes while clients write indexes, sync one to a table, and record playbooks."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from random import Random

from tools.kit.lake_crashes.folder import check_folder
from tools.kit.lake_crashes.index_batches import IndexBatchWriter
from tools.kit.lake_crashes.index_sync import SyncWriter
from tools.kit.lake_crashes.indexes import IndexWriter, make_index_request
from tools.kit.lake_crashes.killer import UNRECOVERED, Killer, Ready
from tools.kit.lake_crashes.playbooks import PlaybookWriter
from tools.kit.lake_crashes.report import CrashReport
from tools.kit.lake_crashes.requests import LakeClient, make_json
from tools.kit.lake_crashes.rounds import CrashRounds, run_rounds
from tools.kit.lake_crashes.service import LakeService

VICTIMS: Mapping[str, int] = {"retrieval": 9, "services": 6, "tables": 1, "query": 1, "gateway": 1, "everything": 2}
"""What is killed, and how often in relation to each other."""
DATABASE = "vectors/index.sqlite"
PROBE = "probe"
RECOVERY_TIMEOUT = 240.0
"""Seconds for an answer about tables: the kills go on as soon as the indexes are there again."""


class RetrievalKiller(Killer):
    """Waits for the engine of the indexes after a kill, and not for those of tables."""

    async def probe(self) -> None:
        """Wait until a search is answered. Raises NoAnswer."""
        await self._client.read(make_json("POST", "/v1/vectors/index", {"name": PROBE, "dimension": 1}))
        await self._client.read(make_index_request("POST", PROBE, "search", {"vector": [1]}))


class RetrievalCrashes(CrashRounds):
    """The clients of indexes."""

    def add_writers(self, seed: int, *, index_writers: int, sync_writers: int, playbook_writers: int) -> None:
        """Add so many clients, and the one of whole batches with two readers."""
        kinds = (
            ("x", IndexWriter, index_writers),
            ("s", SyncWriter, sync_writers),
            ("p", PlaybookWriter, playbook_writers),
        )
        for letter, kind, count in kinds:
            for name in (f"{letter}{number}" for number in range(count)):
                self.writers.append(kind(name, self.client, self.report, Random(f"{seed}.{name}")))
        batches = IndexBatchWriter(self.client, self.report, Random(f"{seed}.batches"))
        self.writers.append(batches)
        self.readers += [batches.read_on, batches.read_on]

    async def check_stopped(self) -> None:
        """The database of the indexes is whole, and the folder has nothing in it that nobody uses."""
        check_folder(self.service.lake, self.report)
        with closing(sqlite3.connect(self.service.lake / DATABASE)) as database:
            (result,) = database.execute("PRAGMA integrity_check").fetchone()
            wrong = database.execute(
                "SELECT name, length, (SELECT count(*) FROM items WHERE items.number = indexes.number) AS rows"
                " FROM indexes WHERE length != rows"
            ).fetchall()
            (lost,) = database.execute(
                "SELECT count(*) FROM items WHERE number NOT IN (SELECT number FROM indexes)"
            ).fetchone()
        self.report.checks["databases of indexes"] += 1
        if result != "ok" or wrong or lost:
            self.report.wrong.append(
                f"{DATABASE}: {result}; lengths that are wrong: {wrong}; {lost} items without index"
            )


async def run_retrieval_crashes(
    folder: Path,
    victims: Sequence[str],
    *,
    seed: int,
    index_writers: int = 3,
    sync_writers: int = 1,
    playbook_writers: int = 1,
    unrecovered: float = UNRECOVERED,
    ready: Ready = lambda _: True,
) -> CrashReport:
    """Kill processes of a service on a new lake in `folder`: `victims` are roles of `VICTIMS`.

    The first kill waits until the report is `ready`.
    """

    def make_rounds(service: LakeService, client: LakeClient, report: CrashReport) -> CrashRounds:
        client.recovery_timeout = RECOVERY_TIMEOUT
        killer = RetrievalKiller(service, client, report, Random(f"{seed}.killer"), unrecovered, ready)
        crashes = RetrievalCrashes(service, client, report, killer)
        crashes.add_writers(
            seed, index_writers=index_writers, sync_writers=sync_writers, playbook_writers=playbook_writers
        )
        return crashes

    return await run_rounds(folder, victims, make_rounds)
