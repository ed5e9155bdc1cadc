"""Catalogs that other services and engines share: PostgreSQL, and Iceberg's REST catalogs. Used by the child."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import CommitTableResponse, Table
from sqlalchemy import event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import IntegrityError, ProgrammingError

from lakehouse.services.tables.kept_metadata import KeptMetadata
from lakehouse.services.tables.names import decode_name, encode_name, identifier
from lakehouse.services.tables.object_storage import ObjectStorage
from lakehouse.services.warehouse.credentials import Credentials
from lakehouse.services.warehouse.settings import WarehouseSettings

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.table.update import TableRequirement, TableUpdate

POSTGRES_OPTIONS = {
    "connect_timeout": "3",
    "tcp_user_timeout": "10000",
    "keepalives_idle": "10",
    "options": "-c statement_timeout=10s -c lock_timeout=5s -c idle_in_transaction_session_timeout=30s",
    "application_name": "lakehouse",
}
"""Seconds, but for milliseconds in `tcp_user_timeout`: a server that is gone fails a call well within its deadline."""

_LIST = text(
    "SELECT table_namespace, table_name, metadata_location FROM iceberg_tables"
    " WHERE catalog_name = :catalog AND coalesce(iceberg_type, 'TABLE') = 'TABLE'"
)
_FIND = text(
    "SELECT metadata_location FROM iceberg_tables WHERE catalog_name = :catalog"
    " AND table_namespace = :namespace AND table_name = :table AND coalesce(iceberg_type, 'TABLE') = 'TABLE'"
)
_ENTRIES = text("SELECT metadata_location, coalesce(iceberg_type, 'TABLE') = 'TABLE' FROM iceberg_tables")


class SharedSqlCatalog(SqlCatalog):
    """The catalog in PostgreSQL, in the layout that other engines know as JDBC catalog. Files are in the bucket."""

    def __init__(self, name: str, storage: ObjectStorage, **properties: str) -> None:
        super().__init__(name, **properties)
        self.storage = storage
        self._kept = KeptMetadata()

    def ensure_namespace(self, namespace: tuple[str, ...]) -> None:
        """A namespace of a catalog in SQL is there with its first table."""

    def list_names(self) -> list[str]:
        """The names of all tables, in one statement."""
        return list(self.list_current())

    def list_current(self) -> dict[str, str]:
        """The current metadata files of all tables, by name."""
        found: dict[str, str] = {}
        with self.engine.connect() as connection:
            for namespace, table, location in connection.execute(_LIST, {"catalog": self.name}):
                name = decode_name(str(namespace), str(table))
                if name is not None and location:
                    found[name] = str(location)
        return found

    def find_location(self, name: str) -> str | None:
        """The current metadata file of a table, None for an unknown table."""
        namespace, table = encode_name(name)
        values = {"catalog": self.name, "namespace": namespace, "table": table}
        with self.engine.connect() as connection:
            found = connection.execute(_FIND, values).scalar()
        return None if found is None else str(found)

    def list_locations(self) -> list[tuple[str, bool]]:
        """The metadata files of all entries of the database, also of other catalogs in it, and which are tables."""
        with self.engine.connect() as connection:
            return [(str(location), bool(is_table)) for location, is_table in connection.execute(_ENTRIES) if location]

    def _convert_orm_to_iceberg(self, orm_table: Any) -> Table:  # noqa: ANN401 - a row of SQLAlchemy
        if not orm_table.metadata_location:
            raise NoSuchTableError(f"the table {orm_table.table_name} has no metadata")
        location, io = str(orm_table.metadata_location), self.storage.open_io()
        return Table(
            identifier=(*Catalog.identifier_to_tuple(orm_table.table_namespace), orm_table.table_name),
            metadata=self._kept.load(location, io),
            metadata_location=location,
            io=io,
            catalog=self,
        )

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """Commit, and keep the new metadata."""
        response = super().commit_table(table, requirements, updates)
        self._kept.keep(response.metadata_location, response.metadata)
        return response

    def _load_file_io(self, properties: object = None, location: str | None = None) -> FileIO:  # noqa: ARG002
        return self.storage.open_io()


class RestLakeCatalog(RestCatalog):
    """A REST catalog. Files are read and written with the keys of the lake, not with keys that the catalog gives."""

    def __init__(self, name: str, storage: ObjectStorage, **properties: str) -> None:
        self.storage = storage
        super().__init__(name, **properties)

    def _load_file_io(self, properties: object = None, location: str | None = None) -> FileIO:  # noqa: ARG002
        return self.storage.open_io()

    def ensure_namespace(self, namespace: tuple[str, ...]) -> None:
        """Create a namespace, and those above it, if they are missing."""
        for depth in range(1, len(namespace) + 1):
            self.create_namespace_if_not_exists(namespace[:depth])

    def list_names(self) -> list[str]:
        """The names of all tables."""
        found = (decode_name(".".join(where[:-1]), where[-1]) for where in self._list_all())
        return [name for name in found if name is not None]

    def list_current(self) -> dict[str, str]:
        """The current metadata files of all tables, by name: one request for each."""
        found = {name: self.find_location(name) for name in self.list_names()}
        return {name: location for name, location in found.items() if location is not None}

    def find_location(self, name: str) -> str | None:
        """The current metadata file of a table, None for an unknown table."""
        try:
            return str(self.load_table(identifier(name)).metadata_location)
        except NoSuchTableError:
            return None

    def list_locations(self) -> list[tuple[str, bool]]:
        """The metadata files of all tables of this catalog."""
        return [(self.load_table(where).metadata_location, True) for where in self._list_all()]

    def _list_all(self) -> Iterator[tuple[str, ...]]:
        waiting, seen = [tuple(found) for found in self.list_namespaces()], set[tuple[str, ...]]()
        while waiting:
            namespace = waiting.pop()
            if namespace in seen:  # some catalogs list all levels at once
                continue
            seen.add(namespace)
            yield from (tuple(where) for where in self.list_tables(namespace))
            waiting += [tuple(found) for found in self.list_namespaces(namespace)]


def open_shared_catalog(settings: WarehouseSettings) -> SharedSqlCatalog | RestLakeCatalog:
    """Open the catalog; its tables in PostgreSQL are made if they are missing. Raises CallError without credentials."""
    storage = ObjectStorage(settings)
    if settings.catalog.startswith("postgresql://"):
        return _open_postgres(settings, storage)
    credentials = storage.load_credentials()
    properties = {
        "uri": settings.catalog,
        "warehouse": settings.location.rstrip("/"),
        "token": credentials.catalog_token,
        "credential": credentials.catalog_credential,
    }
    return RestLakeCatalog(
        settings.catalog_name, storage, **{name: value for name, value in properties.items() if value}
    )


def _open_postgres(settings: WarehouseSettings, storage: ObjectStorage) -> SharedSqlCatalog:
    properties = {
        "uri": make_postgres_url(settings, storage.load_credentials()).render_as_string(hide_password=False),
        "warehouse": settings.location.rstrip("/"),
        "pool_pre_ping": "true",
        "init_catalog_tables": "true",
    }
    try:
        catalog = SharedSqlCatalog(settings.catalog_name, storage, **properties)
    except (IntegrityError, ProgrammingError):  # another service makes the tables at the same moment
        catalog = SharedSqlCatalog(settings.catalog_name, storage, **properties)

    @event.listens_for(catalog.engine, "do_connect")
    def set_password(_dialect: object, _record: object, _arguments: object, parameters: dict[str, object]) -> None:
        if password := storage.load_credentials().postgres_password:
            parameters["password"] = password

    return catalog


def make_postgres_url(settings: WarehouseSettings, credentials: Credentials) -> URL:
    """The URL for SQLAlchemy. The password of the key file takes the place of that of the configuration."""
    return make_url(settings.catalog).set(
        drivername="postgresql+psycopg2",
        username=settings.catalog_user or None,
        password=credentials.postgres_password or settings.catalog_password or None,
        query=POSTGRES_OPTIONS,
    )
