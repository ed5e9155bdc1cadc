"""Spark appends, compacts and expires while two services take uploads: every row once, whoever counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import trio
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.core.errors import LakehouseError
from lakehouse.process.calls.rpc_child import CallError
from tests.services.warehouse.two_services import Service, open_service
from tools.kit.scaleout.object_storage import REGION, ObjectStorage
from tools.kit.scaleout.spark import Spark, SparkSession

TABLE = "beside"
WRITERS, APPENDS = 4, 50
OF_SPARK = 1_000_000
"""Ids of rows from here on are written by Spark."""
REPEATED = 10
"""Every so many-th upload is sent to the other service as well, as by a client that has lost the answer."""
ATTEMPTS = 10
EXPIRY_TURNS = 4
"""Spark expires in every so many-th turn of its work: that takes it as long as all else."""
COUNT = f"SELECT count(*) AS rows, count(DISTINCT id) AS ids, sum(id) AS total FROM {TABLE}"
COMPACT = f"CALL lake.system.rewrite_data_files(table => 'lake.main.{TABLE}', options => map('min-input-files', '5'))"
EXPIRE = f"CALL lake.system.expire_snapshots(table => 'lake.main.{TABLE}', older_than => now(), retain_last => 20)"
GONE = ("NoSuchKey", "Status Code: 404")
REWRITE_MANIFESTS = f"CALL lake.system.rewrite_manifests(table => 'lake.main.{TABLE}')"
"""Spark refuses this one where a writer has merged manifests meanwhile, as those of the services do."""


@dataclass
class Journal:
    """What was acknowledged, and what Spark has done."""

    uploaded: list[int] = field(default_factory=list)
    inserted: list[int] = field(default_factory=list)
    compacted: int = 0
    """Data files that Spark has written again as larger ones."""
    expired: int = 0
    """Files that Spark has deleted with old snapshots."""
    writing: int = WRITERS

    @property
    def ids(self) -> list[int]:
        """The ids of all acknowledged rows."""
        return sorted([*self.uploaded, *self.inserted])


async def test_spark_writes_and_compacts_beside_two_services(
    tmp_path: Path, spark: Spark, object_storage: ObjectStorage
) -> None:
    lake = dict(spark.lake)
    async with (
        open_service(tmp_path / "one", lake, queryd={"spark": {"url": spark.url}}) as one,
        open_service(tmp_path / "other", lake) as other,
    ):
        await one.ingest(TABLE, "0,w")
        journal = Journal(uploaded=[0])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, work_in_spark, spark, journal)
            for writer in range(WRITERS):
                services = (one, other) if writer % 2 else (other, one)
                nursery.start_soon(append, services, writer, journal)
        ids = journal.ids
        assert len(journal.uploaded) == 1 + WRITERS * APPENDS
        assert min(len(journal.inserted), journal.compacted, journal.expired) > 0, journal

        expected = [[len(ids), len(ids), sum(ids)]]
        for service in (one, other):
            assert await service.sql(COUNT) == expected
        assert await one.sql(COUNT, engine="spark") == expected
        assert await trio.to_thread.run_sync(read_ids, spark, object_storage) == ids


async def append(services: tuple[Service, Service], writer: int, journal: Journal) -> None:
    """Upload one row after the other to the first service, and some of them to the second as well."""
    try:
        for number in range(APPENDS):
            row = 1 + writer * APPENDS + number
            for service in services if number % REPEATED == 0 else services[:1]:
                await upload(service, row)
            journal.uploaded.append(row)
    finally:
        journal.writing -= 1


async def upload(service: Service, row: int) -> None:
    """Upload a row, and again with the same key where that may help or nobody knows whether the row is there."""
    for attempt in range(ATTEMPTS):
        try:
            await service.ingest(TABLE, f"{row},w", "&mode=append", idempotency_key=f"row-{row}")
        except LakehouseError as error:
            if attempt == ATTEMPTS - 1 or not (error.retryable or error.status >= 500):
                raise
            await trio.sleep(0.2)
        else:
            return


def work_in_spark(spark: Spark, journal: Journal) -> None:
    """Append rows and maintain the table by Spark's own statements until the uploads have ended, and once more."""
    session = SparkSession(spark.url)
    try:
        for turn in count():
            if not journal.writing:
                break
            insert_and_compact(session, journal)
            if turn % EXPIRY_TURNS == 1:
                try:
                    expire(session, journal)
                except CallError as error:  # a service expires as well: files that Spark was about to look at are gone
                    if not any(word in error.failure.message for word in GONE):
                        raise
        insert_and_compact(session, journal)
        session.run(REWRITE_MANIFESTS)
        expire(session, journal)
    finally:
        session.close()


def insert_and_compact(session: SparkSession, journal: Journal) -> None:
    """Append two rows, and write the small files of the table again as one."""
    row = OF_SPARK + len(journal.inserted)
    session.run(f"INSERT INTO lake.main.{TABLE} VALUES ({row}, 's'), ({row + 1}, 's')")
    journal.inserted += (row, row + 1)
    journal.compacted += _count(session.run(COMPACT), "rewritten_data_files_count")


def expire(session: SparkSession, journal: Journal) -> None:
    """Delete old snapshots, and the files that only they have."""
    journal.expired += _count(session.run(EXPIRE), "deleted_data_files_count")


def _count(rows: list[dict[str, object]], column: str) -> int:
    return sum(int(str(row[column])) for row in rows)


def read_ids(spark: Spark, storage: ObjectStorage) -> list[int]:
    """The ids that pyiceberg finds, a further client of the catalog and the bucket."""
    properties = {
        "uri": str(spark.lake["catalog"]).replace("postgresql:", "postgresql+psycopg2:", 1),
        "warehouse": str(spark.lake["warehouse"]),
        "s3.endpoint": storage.endpoint,
        "s3.region": REGION,
        "s3.access-key-id": storage.key_id,
        "s3.secret-access-key": storage.secret,
    }
    catalog = SqlCatalog("lake", **properties)
    try:
        rows = catalog.load_table(f"main.{TABLE}").scan(selected_fields=("id",)).to_arrow()
    finally:
        catalog.close()
    return sorted(rows["id"].to_pylist())
