"""A REST catalog as the target: whether it has the tables already, and their registration. Used by the child.

It registers one table after the other, and they are recognized by their identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyiceberg.exceptions import BadRequestError, ForbiddenError, NoSuchTableError, TableAlreadyExistsError

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.promotion.messages import CatalogEntry, CatalogState
from lakehouse.services.tables.catalog import open_metadata
from lakehouse.services.tables.names import canonical

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from lakehouse.services.tables.catalog import LakeCatalog
    from lakehouse.services.tables.shared_catalogs import RestLakeCatalog


def check_rest(catalog: RestLakeCatalog, source: LakeCatalog, entries: Sequence[CatalogEntry]) -> CatalogState:
    """Look for the tables, and for others with their names. Raises CallError for dropped tables."""
    if dropped := [entry.shown for entry in entries if entry.dropped]:
        raise CallError(
            "unprocessable",
            f"dropped tables cannot be promoted to a REST catalog, which refuses their names ({dropped[0]}): let them"
            " expire (POST /v1/catalog/expire), or use a catalog in PostgreSQL",
        )
    own = [entry for entry in entries if _is_same(_find(catalog, entry), source, entry)]
    others = [entry for entry in entries if entry not in own]
    names = {canonical(name) for name in catalog.list_names()} - {canonical(entry.shown) for entry in own}
    conflicts = tuple(entry.shown for entry in others if canonical(entry.shown) in names)
    return CatalogState(registered=bool(entries) and not others, conflicts=conflicts, found=len(own))


def register_rest(catalog: RestLakeCatalog, source: LakeCatalog, entries: Sequence[CatalogEntry]) -> int:
    """Register the tables that are not there yet. Returns how many there are. Raises CallError."""
    for entry in entries:
        if not _is_same(_find(catalog, entry), source, entry):
            _register(catalog, source, entry)
    return len(entries)


def _register(catalog: RestLakeCatalog, source: LakeCatalog, entry: CatalogEntry) -> None:
    """Register a table. One that the catalog answers with other metadata is removed from it again."""
    where, location = _identify(entry), catalog.storage.locate(entry.location)
    try:
        catalog.ensure_namespace(where[:-1])
        catalog.register_table(where, location)
    except TableAlreadyExistsError:
        raise CallError("conflict", f"the catalog has got a table of the same name meanwhile: {entry.shown}") from None
    except (BadRequestError, ForbiddenError, NotImplementedError) as error:
        raise CallError("unprocessable", f"the catalog does not register {entry.shown}: {error}") from None
    found = _find(catalog, entry)
    if _is_same(found, source, entry):
        return
    if found is not None and found.metadata_location == location:
        catalog.drop_table(where)
    raise CallError(
        "unprocessable",
        f"the catalog does not take tables with a history: it has registered {entry.shown} by the file {location}, and"
        " answers with other metadata. It was removed from the catalog again: use another one, such as PostgreSQL",
    )


def _find(catalog: RestLakeCatalog, entry: CatalogEntry) -> Table | None:
    try:
        found: Table = catalog.load_table(_identify(entry))
    except NoSuchTableError:
        return None
    return found


def _is_same(found: Table | None, source: LakeCatalog, entry: CatalogEntry) -> bool:
    if found is None:
        return False
    return bool(found.metadata.table_uuid == open_metadata(source, entry.location).metadata.table_uuid)


def _identify(entry: CatalogEntry) -> tuple[str, ...]:
    return (*entry.namespace.split("."), entry.table)
