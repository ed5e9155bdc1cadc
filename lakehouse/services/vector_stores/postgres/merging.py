"""Items from one index into another, in one transaction."""

from __future__ import annotations

from array import array

from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.contracts.retrieval import Merged
from lakehouse.services.contracts.vector_store import make_not_found
from lakehouse.services.postgres.session import Session
from lakehouse.services.vector_stores.postgres import staging
from lakehouse.services.vector_stores.postgres.records import Record, find_records
from lakehouse.services.vector_stores.postgres.staging import decode_vector, write_vector
from lakehouse.services.vector_stores.postgres.writing import ItemWriter

MAX_COMPONENT = 1e16
"""Of a vector that is not compared by its direction alone."""


def merge(session: Session, source: str, dest: str, *, clear_source: bool) -> Merged:
    """Copy what the destination lacks. Raises ErrNotFound, ErrBadRequest for a vector that it cannot have."""
    found = find_records(session, [source, dest], lock=True)
    for name in (source, dest):
        if name not in found:
            raise make_not_found(name)
    origin, target = found[source], found[dest]
    staging.prepare(session)
    missing = f"NOT EXISTS (SELECT FROM {target.tables.items} d WHERE d.id = s.id)"
    _check_vectors(session, origin, target, missing)
    columns = "id, source, digest, fields, vec"
    session.execute(
        f"""
        WITH copied AS (
            INSERT INTO {target.tables.items} ({columns})
            SELECT {columns} FROM {origin.tables.items} s WHERE {missing} ORDER BY row RETURNING row, id
        )
        INSERT INTO staged_copies SELECT s.row, c.row FROM copied c JOIN {origin.tables.items} s USING (id)
        """
    )
    writer = ItemWriter(session, target)
    writer.remember_copies(origin)
    _restore_vectors(session, origin, target)
    after = writer.finish()
    merged = after.length - target.length
    if clear_source and merged:
        remover = ItemWriter(session, origin)
        session.execute("INSERT INTO staged_gone SELECT old, TRUE FROM staged_copies")
        remover.delete_marked()
        remover.finish()
    return Merged(merged=merged, skipped=origin.length - merged, length=after.length)


def _check_vectors(session: Session, origin: Record, target: Record, missing: str) -> None:
    """Refuse vectors without a direction where directions are compared, and too large ones where they are not."""
    kinds = origin.options.distance == "cosine", target.options.distance == "cosine"
    items = f"{origin.tables.items} s"
    if kinds == (False, True):
        unfit = session.fetch(f"SELECT id FROM {items} WHERE vector_norm(vec) = 0 AND {missing} LIMIT 1")
        problem = "has a norm of zero, and the cosine needs a direction"
    elif kinds == (True, False):
        scaled = session.fetch(
            f"SELECT id, given FROM {items} JOIN {origin.tables.texts} USING (row)"
            f" WHERE given IS NOT NULL AND {missing} ORDER BY row"
        )
        unfit = [row for row in scaled if max(map(abs, array("f", decode_vector(bytes(row[1]))))) > MAX_COMPONENT]
        problem = f"has a component beyond {MAX_COMPONENT:g}"
    else:
        return
    if unfit:
        raise ErrBadRequest(f"the vector of the item {unfit[0][0]!r} of `source` {problem}", field="source")


def _restore_vectors(session: Session, origin: Record, target: Record) -> None:
    """Give copies the vectors that were given, where their own are scaled and lengths count."""
    if origin.options.distance != "cosine" or target.options.distance == "cosine":
        return
    copies = session.fetch(f"SELECT row, given FROM {target.tables.texts} WHERE given IS NOT NULL")
    for row, given in copies:
        literal = write_vector(decode_vector(bytes(given)))
        session.execute(f"UPDATE {target.tables.items} SET vec = %s::vector WHERE row = %s", (literal, row))
        session.execute(f"UPDATE {target.tables.texts} SET given = NULL WHERE row = %s", (row,))
