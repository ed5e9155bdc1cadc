"""The rows of a table that an index is made of, as SQL over one snapshot, and what is wrong with a table for it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.contracts.tables import TablePlan


class TableSource(msgspec.Struct, frozen=True, kw_only=True):
    """What of a table an index has: the column of the ids, those of the text, and those of the metadata."""

    table: str
    key: str
    text: tuple[str, ...]
    metadata: tuple[str, ...] = ()

    def check(self, plan: TablePlan) -> None:
        """Raise ErrBadRequest, with the field of the request, for a column that the table does not have."""
        present = [field.name for field in plan.fields]
        for name, columns in (("key", (self.key,)), ("text", self.text), ("metadata", self.metadata)):
            for column in columns:
                if column not in present:
                    raise ErrBadRequest(
                        f"`{name}`: the table {self.table!r} has no column {column[:80]!r}; it has"
                        f" {', '.join(present)[:300]}",
                        field=name,
                    )


def select_rows(source: TableSource, snapshot_id: str) -> str:
    """All rows that have a text, in the order of their ids: `id`, `text` and, with metadata, `metadata`."""
    texts = [f"CAST({_quote(column)} AS VARCHAR)" for column in source.text]
    text = texts[0] if len(texts) == 1 else f"concat_ws(chr(10) || chr(10), {', '.join(texts)})"
    fields = ", ".join(f"{_quote(column)}: {_quote(column)}" for column in source.metadata)
    metadata = f", {{{fields}}} AS metadata" if fields else ""
    rows = f"SELECT {_id(source)} AS id, {text} AS text{metadata} FROM {_from(source, snapshot_id)}"
    return f"SELECT * FROM ({rows}) WHERE length(trim(text, chr(9) || chr(10) || chr(13) || ' ')) > 0 ORDER BY id"


def count_keys(source: TableSource, snapshot_id: str) -> str:
    """The number of rows, of rows with a key, and of different keys."""
    key = _id(source)
    return f"SELECT count(*), count({key}), count(DISTINCT {key}) FROM {_from(source, snapshot_id)}"


def select_repeated_key(source: TableSource, snapshot_id: str) -> str:
    """One key that several rows have, and their number."""
    key = _id(source)
    return f"SELECT {key}, count(*) FROM {_from(source, snapshot_id)} GROUP BY 1 HAVING count(*) > 1 ORDER BY 1 LIMIT 1"


def _id(source: TableSource) -> str:
    return f"CAST({_quote(source.key)} AS VARCHAR)"


def _from(source: TableSource, snapshot_id: str) -> str:
    return f"{_quote(source.table)} AT (VERSION => {int(snapshot_id)})"


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def explain_key(source: TableSource, counts: Sequence[int]) -> str:
    """Say what is wrong with the key column by the answer to `count_keys`; an empty string if nothing is."""
    rows, present, different = counts
    if present < rows:
        return f"the key column {source.key!r} of {source.table!r} is NULL in {rows - present:,} rows"
    if different < present:
        return f"the key column {source.key!r} of {source.table!r} has the same value in several rows"
    return ""
