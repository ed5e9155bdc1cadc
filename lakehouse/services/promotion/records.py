"""Traces and operations, copied from the folder to PostgreSQL in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from lakehouse.config import LakeTable
from lakehouse.core.errors import ErrConflict, ErrUpstream
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.lake.key_file import KeyFile, KeyFileError
from lakehouse.services.observerd.postgres_copy import check_operations, copy_operations
from lakehouse.services.observerd.postgres_records import COMPONENT as OPERATIONS
from lakehouse.services.observerd.postgres_records import SCRIPTS as OPERATION_SCRIPTS
from lakehouse.services.pathwayd.postgres_copy import check_traces, copy_traces, has_copied_traces
from lakehouse.services.pathwayd.postgres_database import SCRIPTS as TRACE_SCRIPTS
from lakehouse.services.pathwayd.postgres_records import COMPONENT as TRACES
from lakehouse.services.postgres.address import NAME, PostgresAddress, make_address, make_schema_name
from lakehouse.services.postgres.database import PostgresDatabase
from lakehouse.services.postgres.session import Session

COPY_TIMEOUT = 3600.0
"""Seconds of the transaction that copies them."""


class RecordCounts(NamedTuple):
    """How many were copied."""

    traces: int
    operations: int


class Records:
    """The target's database for traces and operations."""

    def __init__(self, address: PostgresAddress) -> None:
        self._database = PostgresDatabase(address)

    def close(self) -> None:
        """Close the idle connections."""
        self._database.close()

    async def check(self, promotion: str) -> None:
        """Raise ErrConflict if the database has other traces or operations, and what `PostgresDatabase.run` raises."""

        def check(session: Session) -> None:
            check_traces(session, _name(promotion))
            check_operations(session, _name(promotion))

        await self._database.run(check, snapshot=True)

    async def check_copied(self, promotion: str) -> None:
        """Raise ErrConflict if the database does not have the copy of a promotion that has switched."""
        if not await self._database.run(partial(has_copied_traces, store=_name(promotion)), snapshot=True):
            raise ErrConflict(
                "the lake was promoted without this database: its traces and operations are still in use in the folder,"
                " so leave out --records"
            )

    async def copy(self, directory: LakeDirectory, promotion: str) -> RecordCounts:
        """Copy all of them. An earlier copy of the same promotion is replaced. Raises what `check` raises."""
        await self._database.migrate(TRACES, TRACE_SCRIPTS)
        await self._database.migrate(OPERATIONS, OPERATION_SCRIPTS)
        work = partial(_copy, directory=directory, name=_name(promotion))
        return await self._database.run(work, timeout=COPY_TIMEOUT)


def _copy(session: Session, directory: LakeDirectory, name: str) -> RecordCounts:
    return RecordCounts(
        copy_traces(session, directory.pathway_db, name), copy_operations(session, directory.observer_db, name)
    )


def _name(promotion: str) -> str:
    """By which the databases know the copy."""
    return f"promotion-{promotion}"


def make_records_address(lake: LakeTable, url: str, environment: Mapping[str, str]) -> PostgresAddress:
    """The address of the database, with the password of the key file or of the environment as a service has it."""
    key_file = KeyFile(lake.key_file, environment)

    def load_password() -> str:
        try:
            return key_file.load().get("PGPASSWORD", "")
        except KeyFileError as error:
            raise ErrUpstream(str(error), provider=NAME) from None

    return make_address(url, schema=make_schema_name(lake.name), load_password=load_password)
