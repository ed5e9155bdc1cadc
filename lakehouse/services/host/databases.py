"""The databases in PostgreSQL that services of the lake keep their records in: one pool of connections for each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from lakehouse.config import LakeTable
from lakehouse.core.errors import ErrUpstream
from lakehouse.services.lake.key_file import KeyFile, KeyFileError
from lakehouse.services.postgres.address import NAME, make_address, make_schema_name
from lakehouse.services.postgres.database import PostgresDatabase


class RecordDatabases:
    """The databases by URL, user and password. `open_databases` closes their connections."""

    def __init__(self, lake: LakeTable, environment: Mapping[str, str]) -> None:
        """`environment` has the password if the key file lacks it."""
        self._schema = make_schema_name(lake.name)
        self._key_file = KeyFile(lake.key_file, environment)
        self._opened: dict[tuple[str, str, str], PostgresDatabase] = {}

    def find(self, url: str) -> PostgresDatabase:
        """The database of a URL of the configuration. No connection is opened before one is needed."""
        address = make_address(url, schema=self._schema, load_password=self._load_password)
        key = address.shown, address.user, address.url_password
        if key not in self._opened:
            self._opened[key] = PostgresDatabase(address)
        return self._opened[key]

    def close(self) -> None:
        """Close the idle connections."""
        for database in self._opened.values():
            database.close()

    def _load_password(self) -> str:
        """The password as it is now. Raises ErrUpstream."""
        try:
            return self._key_file.load().get("PGPASSWORD", "")
        except KeyFileError as error:
            raise ErrUpstream(str(error), provider=NAME) from None


@asynccontextmanager
async def open_databases(lake: LakeTable, environment: Mapping[str, str]) -> AsyncIterator[RecordDatabases]:
    """The databases of a lake, for the length of the block."""
    databases = RecordDatabases(lake, environment)
    try:
        yield databases
    finally:
        databases.close()
