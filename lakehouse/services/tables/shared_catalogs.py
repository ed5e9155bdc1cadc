"""Catalogs that other services and engines share: PostgreSQL, and Iceberg's REST catalogs. Used by the child."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import NoSuchTableError
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import IntegrityError, ProgrammingError

from lakehouse.services.tables.kept_metadata import MetadataKeepingCatalog
from lakehouse.services.tables.names import decode_name, identifier
from lakehouse.services.tables.object_storage import ObjectStorage
from lakehouse.services.warehouse.credentials import Credentials
from lakehouse.services.warehouse.settings import WarehouseSettings

if TYPE_CHECKING:
    from pyiceberg.io import FileIO

POSTGRES_OPTIONS = {
    "connect_timeout": "3",
    "tcp_user_timeout": "10000",
    "keepalives_idle": "10",
    "options": "-c statement_timeout=10s -c lock_timeout=5s -c idle_in_transaction_session_timeout=30s",
    "application_name": "lakehouse",
}
"""Seconds, but for milliseconds in `tcp_user_timeout`: a server that is gone fails a call well within its deadline."""


class SharedSqlCatalog(MetadataKeepingCatalog):
    """The catalog in PostgreSQL, in the layout that other engines know as JDBC catalog. Files are in the bucket."""

    storage: ObjectStorage

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
