"""A table of whole batches: one client appends them with Idempotency-Keys, another one reads meanwhile.

A batch is 100 rows with the numbers 0 to 99. A read that sees another count or sum of one batch has seen half a write,
or one twice; one that misses the newest batch acknowledged before it began has lost a write.
"""

from __future__ import annotations

import json
from random import Random

import trio

from tools.kit.lake_crashes.report import CrashReport
from tools.kit.lake_crashes.requests import LakeClient, Reply, Request, make_ingest, make_sql
from tools.kit.lake_crashes.writer import Step, Writer

NAME = "batches"
SIZE = 100
REPLACED_AFTER = 40
"""Batches after which the table is replaced by the next one."""

Batches = tuple[int, ...]

TOTALS = f"SELECT batch, count(*), sum(n) FROM {NAME} GROUP BY batch ORDER BY batch"


class BatchWriter(Writer[Batches]):
    """Appends batches. `state` is the numbers of the batches that are in the table."""

    def __init__(self, client: LakeClient, report: CrashReport, random: Random) -> None:
        super().__init__(NAME, client, report, random, ())
        self._next = 0

    def choose(self) -> Step[Batches]:
        """The next batch, which replaces the others from time to time."""
        number, self._next = self._next, self._next + 1
        content = "batch,n\n" + "".join(f"{number},{n}\n" for n in range(SIZE))
        mode = "replace" if len(self.state) in (0, REPLACED_AFTER) else "append"
        after = (number,) if mode == "replace" else (*self.state, number)
        request = make_ingest(NAME, content.encode(), mode=mode, key=f"batch-{number}")
        return Step(f"batch {mode}, keyed", request, after)

    async def observe(self) -> Batches:
        """The batches in the table."""
        reply = await self.client.read(make_sql(TOTALS))
        self.report.reads["batches"] += 1
        if reply.status == 400 and not self.state:
            return ()  # the table was not made yet
        return self._read_totals(reply)

    async def read_on(self, over: trio.Event) -> None:
        """Read the table in turns of both kinds until `over` is set."""
        while not over.is_set():
            await trio.sleep(self.random.uniform(0, 0.2))
            if self.state:
                await (self._read_batches() if self.random.random() < 0.5 else self._read_stream())

    async def _read_batches(self) -> None:
        newest = self.state[-1]
        reply = await self.client.send(make_sql(TOTALS))
        if reply.ending == "acknowledged":
            self.report.reads["batches meanwhile"] += 1
            self._check_newest(newest, self._read_totals(reply))
        elif reply.ending == "refused":
            self.fail(f"a query was refused: {reply}")

    async def _read_stream(self) -> None:
        """A stream of rows that ends as complete must be complete."""
        newest = self.state[-1]
        request = make_sql(f"SELECT batch, n FROM {NAME}")
        request = Request(
            request.method, request.path, request.content, {**request.headers, "accept": "application/x-ndjson"}
        )
        reply = await self.client.send(request)
        if reply.ending == "refused":
            self.fail(f"a stream was refused: {reply}")
        if reply.ending != "acknowledged":
            return
        rows = [json.loads(line) for line in reply.body.splitlines()]
        if rows and "error" in rows[-1]:
            self.report.reads["streams that end in an error"] += 1
            return
        self.report.reads["streams meanwhile"] += 1
        totals: dict[int, list[int]] = {}
        for row in rows:
            totals.setdefault(row["batch"], []).append(row["n"])
        if any(sorted(numbers) != list(range(SIZE)) for numbers in totals.values()):
            self.fail(f"a stream has {[(batch, len(numbers)) for batch, numbers in totals.items()]}")
        self._check_newest(newest, tuple(totals))

    def _read_totals(self, reply: Reply) -> Batches:
        rows = reply.json().get("rows", []) if reply.status == 200 else []
        if reply.status != 200 or any(
            (count, int(total)) != (SIZE, SIZE * (SIZE - 1) // 2) for _, count, total in rows
        ):
            self.fail(f"batches are not whole: {reply.status} {str(rows or reply)[:300]}")
        return tuple(batch for batch, _, _ in rows)

    def _check_newest(self, newest: int, found: Batches) -> None:
        if not found or max(found) < newest:
            self.fail(f"a read that began after batch {newest} was acknowledged ends with {found[-3:]}")
