"""The catalog of the target: whether it has the tables already, and their registration. Used by the child.

In PostgreSQL all tables are registered in one transaction, with a property that names the promotion: a promotion that
was interrupted at this point finds out whether its tables are in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.exc import IntegrityError

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.promotion.messages import CatalogEntry, CatalogState
from lakehouse.services.promotion.rest_target import check_rest, register_rest
from lakehouse.services.tables.kept_metadata import MetadataKeepingCatalog
from lakehouse.services.tables.names import canonical, decode_name
from lakehouse.services.tables.object_storage import ObjectStorage
from lakehouse.services.tables.shared_catalogs import RestLakeCatalog, make_postgres_url, open_shared_catalog
from lakehouse.services.warehouse.settings import WarehouseSettings

if TYPE_CHECKING:
    from lakehouse.services.tables.catalog import LakeCatalog

TABLES, PROPERTIES = "iceberg_tables", "iceberg_namespace_properties"
PROMOTIONS = "lakehouse"
"""The namespace that has a property for each promotion into the catalog."""

_LIST = text(f"SELECT table_namespace, table_name FROM {TABLES} WHERE catalog_name = :catalog")  # noqa: S608
_FIND_PROMOTION = text(
    f"SELECT 1 FROM {PROPERTIES} WHERE catalog_name = :catalog AND namespace = :namespace AND property_key = :key"  # noqa: S608
)
_ADD_TABLE = text(
    f"INSERT INTO {TABLES} (catalog_name, table_namespace, table_name, metadata_location, iceberg_type)"  # noqa: S608
    " VALUES (:catalog, :namespace, :table, :location, 'TABLE')"
)
_ADD_PROPERTY = text(
    f"INSERT INTO {PROPERTIES} (catalog_name, namespace, property_key, property_value)"  # noqa: S608
    " VALUES (:catalog, :namespace, :key, :value) ON CONFLICT DO NOTHING"
)
_LOCK = text(f"LOCK TABLE {TABLES} IN SHARE ROW EXCLUSIVE MODE")
_READ_PROPERTIES = text(
    f"SELECT namespace, property_key, property_value FROM {PROPERTIES} WHERE catalog_name = :catalog"  # noqa: S608
)

Property = tuple[str, str, str | None]


def check_catalog(
    settings: WarehouseSettings, source: LakeCatalog, entries: Sequence[CatalogEntry], promotion: str
) -> CatalogState:
    """Look for the tables, and for others with their names. Changes nothing. Raises CallError."""
    if not settings.catalog.startswith("postgresql://"):
        catalog = open_shared_catalog(settings)
        assert isinstance(catalog, RestLakeCatalog)  # noqa: S101 - for the types only
        return check_rest(catalog, source, entries)
    url = make_postgres_url(settings, ObjectStorage(settings).load_credentials())
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table(TABLES):
                return CatalogState(registered=False)
            return _check_sql(connection, settings.catalog_name, entries, promotion)
    finally:
        engine.dispose()


def _check_sql(connection: Connection, catalog: str, entries: Sequence[CatalogEntry], promotion: str) -> CatalogState:
    if _is_registered(connection, catalog, promotion):
        return CatalogState(registered=True, found=len(entries))
    taken = [(str(namespace), str(table)) for namespace, table in connection.execute(_LIST, {"catalog": catalog})]
    return CatalogState(registered=False, conflicts=tuple(_find_conflicts(entries, taken)))


def _is_registered(connection: Connection, catalog: str, promotion: str) -> bool:
    values = {"catalog": catalog, "namespace": PROMOTIONS, "key": _property(promotion)}
    return connection.execute(_FIND_PROMOTION, values).first() is not None


def _property(promotion: str) -> str:
    return f"promotion.{promotion}"


def _find_conflicts(entries: Sequence[CatalogEntry], taken: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The names of tables that the target has, or that SQL cannot tell from one that it has."""
    places = set(taken)
    names = {canonical(name) for name in (decode_name(*place) for place in taken) if name is not None}
    for entry in entries:
        name = decode_name(entry.namespace, entry.table)
        if (entry.namespace, entry.table) in places or (name is not None and canonical(name) in names):
            yield entry.shown


def register_tables(
    settings: WarehouseSettings, source: LakeCatalog, entries: Sequence[CatalogEntry], promotion: str
) -> int:
    """Register the tables, unless that has been done. Returns how many there are. Raises CallError."""
    catalog = open_shared_catalog(settings)
    if isinstance(catalog, RestLakeCatalog):
        return register_rest(catalog, source, entries)
    assert isinstance(source, MetadataKeepingCatalog)  # noqa: S101 - that of a folder
    with source.engine.connect() as connection:
        found = connection.execute(_READ_PROPERTIES, {"catalog": source.name})
        properties: list[Property] = [(row[0], row[1], row[2]) for row in found]
    try:
        with catalog.engine.begin() as connection:
            _register_sql(connection, catalog, entries, properties, promotion)
    except IntegrityError as error:  # a writer that does not wait for the lock
        raise CallError("conflict", f"another program has made one of the tables meanwhile: {error.orig}") from None
    finally:
        catalog.engine.dispose()
    return len(entries)


def _register_sql(
    connection: Connection,
    catalog: MetadataKeepingCatalog,
    entries: Sequence[CatalogEntry],
    properties: Sequence[Property],
    promotion: str,
) -> None:
    connection.execute(_LOCK)
    state = _check_sql(connection, catalog.name, entries, promotion)
    if state.registered:
        return
    if state.conflicts:
        raise CallError("conflict", f"the catalog has got a table of the same name meanwhile: {state.conflicts[0]}")
    for entry in entries:
        values = {"catalog": catalog.name, "namespace": entry.namespace, "table": entry.table}
        connection.execute(_ADD_TABLE, {**values, "location": catalog.storage.locate(entry.location)})
    for namespace, key, value in [*properties, (PROMOTIONS, _property(promotion), str(len(entries)))]:
        values = {"catalog": catalog.name, "namespace": namespace, "key": key}
        connection.execute(_ADD_PROPERTY, {**values, "value": value})
