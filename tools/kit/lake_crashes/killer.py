"""Kills processes of the service at random moments, starts it again where that is needed, and measures the recovery."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

import trio

from tools.kit.lake_crashes.report import CrashReport
from tools.kit.lake_crashes.requests import LakeClient, make_ingest, make_sql
from tools.kit.lake_crashes.service import LakeService, Process, find_descendants, wait_ended

Ready = Callable[[CrashReport], bool]
VICTIMS = {"services": 5, "tables": 6, "writer": 4, "query": 2, "gateway": 1, "everything": 2}
"""What is killed, and how often in relation to each other."""
MAX_DELAY = 0.6
"""Seconds from the recovery to the next kill, at most."""
FIND_TIMEOUT = 30.0
"""Seconds to wait for a process of the kind that is to be killed."""
UNRECOVERED = 0.25
"""The share of kills after which the next one does not wait for the recovery: it meets processes that start."""


READY_TIMEOUT = 60.0
"""Seconds for the clients to do what must be done before the first kill."""


class Killer:
    """Kills processes. `random` decides when. After a share of kills, `unrecovered`, the next one comes before the
    recovery; after the last one of a round, never. The first kill waits until the report is `ready`."""

    def __init__(
        self,
        service: LakeService,
        client: LakeClient,
        report: CrashReport,
        random: Random,
        unrecovered: float,
        ready: Ready = lambda _: True,
    ) -> None:
        self._unrecovered = unrecovered
        self._ready = ready
        self._service = service
        self._client = client
        self._report = report
        self._random = random

    async def kill(self, victims: Sequence[str]) -> None:
        """Kill these, one after the other. Raises trio.TooSlowError if the clients do nothing."""
        with trio.fail_after(READY_TIMEOUT):
            while not self._ready(self._report):
                await trio.sleep(0.01)
        for number, victim in enumerate(victims, 1):
            await trio.sleep(self._random.uniform(0, MAX_DELAY))
            wait = number == len(victims) or self._random.random() >= self._unrecovered
            began = trio.current_time()
            await self._kill_one(victim)
            if wait:
                await self.probe()
                self._report.recovery[victim].append(trio.current_time() - began)

    async def _kill_one(self, victim: str) -> None:
        tree = list(find_descendants(self._service.pid))
        if victim in ("gateway", "everything"):
            await self._service.kill(tree if victim == "everything" else [], gateway=True)
            doomed = tree
        else:
            chosen = await self._find(victim)
            if chosen is None:
                return
            doomed = [chosen, *find_descendants(chosen.pid)]
            await self._service.kill([chosen], gateway=False)
        self._report.kills[victim] += 1
        self._service.trace(f"killed {victim}")
        self._report.checks["processes that must end"] += len(doomed)
        if orphans := await wait_ended(doomed):
            self._report.wrong.append(f"after a kill of {victim}, {len(orphans)} processes below it still run")
        if victim in ("gateway", "everything"):
            await self._service.start()

    async def _find(self, role: str) -> Process | None:
        """A process of a role. None if none is started meanwhile."""
        with trio.move_on_after(FIND_TIMEOUT):
            while not (found := self._service.find(role)):
                await trio.sleep(0.002)
            return self._random.choice(found)
        return None

    async def probe(self) -> None:
        """Wait until an upload and a query are answered. Raises NoAnswer."""
        await self._client.read(make_ingest("probe", b"n\n1\n2\n", mode="replace"))
        await self._client.read(make_sql("SELECT sum(n) FROM probe"))


def choose_victims(kills: int, random: Random, victims: Mapping[str, int] = VICTIMS) -> Sequence[str]:
    """What is killed, so often."""
    return random.choices(list(victims), list(victims.values()), k=kills)
