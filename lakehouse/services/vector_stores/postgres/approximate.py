"""When the graph of an index serves its searches, and what it finds of the true nearest items."""

from __future__ import annotations

from lakehouse.services.postgres.session import Session
from lakehouse.services.vector_stores.postgres.records import Record
from lakehouse.services.vector_stores.postgres.tables import OPERATORS, create_graph, has_graph

FIRST_LENGTH = 20_000
"""Items from which a search by the graph is quicker than one of all items."""
GROWTH = 2
"""The recall is measured again when there are so many times more items."""
SAMPLE, NEAREST = 20, 10
MAX_RESULTS = 100
"""The largest number of results of a search by the graph: its recall was measured for ten."""
BY_GRAPH = (
    "SET LOCAL enable_seqscan = off; SET LOCAL hnsw.ef_search = 200; SET LOCAL hnsw.iterative_scan = strict_order"
)
EXACT = "SET LOCAL enable_indexscan = off"


def measure_if_grown(session: Session, record: Record) -> None:
    """Measure the recall of an index that has grown since the last time, in the transaction that let it grow.

    The first time the graph is made before it: an item that joins a graph costs milliseconds, and a small index needs
    none.
    """
    if not has_graph(record.options) or record.length < max(FIRST_LENGTH, GROWTH * record.recall_length):
        return
    if not record.recall_length:
        create_graph(session, record.tables, record.options)
    items, operator = record.tables.items, OPERATORS[record.options.distance]
    sample = session.fetch(
        f"SELECT row FROM {items} WHERE vec IS NOT NULL ORDER BY row %% 7919, row LIMIT %s", (SAMPLE,)
    )
    nearest = (
        f"SELECT row FROM {items} WHERE vec IS NOT NULL"
        f" ORDER BY vec {operator} (SELECT vec FROM {items} WHERE row = %s) LIMIT {NEAREST}"
    )
    found = wanted = 0
    for (row,) in sample:
        session.execute(EXACT)
        exact = {one for (one,) in session.fetch(nearest, (row,))}
        session.execute(f"SET LOCAL enable_indexscan = on; {BY_GRAPH}")
        found += len(exact.intersection(one for (one,) in session.fetch(nearest, (row,))))
        session.execute("SET LOCAL enable_seqscan = on")
        wanted += len(exact)
    session.execute(
        "UPDATE vector_indexes SET recall = %s, recall_length = %s WHERE number = %s",
        (found / max(wanted, 1), record.length, record.number),
    )


def serves(record: Record, *, filtered: bool, limit: int) -> bool:
    """Whether a search uses the graph. Behind a filter, and for many results, all items are compared."""
    return record.is_approximate and not filtered and limit <= MAX_RESULTS
