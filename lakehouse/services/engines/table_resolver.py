"""From the names in a statement to the snapshots of tables that it reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from difflib import get_close_matches

from lakehouse.core.errors import ErrBadRequest, ErrForbidden, ErrNotFound
from lakehouse.services.contracts.catalog import Manifest, is_system_table
from lakehouse.services.contracts.tables import DataFile, ReadableTables, TablePlan
from lakehouse.services.engines.query_messages import (
    ListedTable,
    StatementNeeds,
    TableReference,
    TableSource,
)
from lakehouse.services.engines.table_files import describe_fields, describe_files

MAX_PATH = 4096
"""Characters of a name up to which it may be a file, and similar names are looked for."""
MAX_SHOWN = 200
"""Characters of a longer name that an error shows."""
DATABASE, SCHEMA = "memory", "main"
"""The names of the engine's database and of its default schema, which a client may put in front of a table's name."""

_FILE = re.compile(
    r"[/~.].*|.*(://|\.\.|[*?\[]).*|.*\.(parquet|csv|tsv|json|jsonl|ndjson|txt|arrow|avro|xlsx|db|duckdb|sqlite|gz|zst)",
    re.IGNORECASE | re.DOTALL,
)
"""Names that the engine would take for a file, if there were no check."""


FreezeTables = Callable[[Collection[str]], AbstractAsyncContextManager[object]]
"""Opens a block in which system tables get no rows, among them those with these names, written in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedTables:
    """The tables of a statement, and their files. `rows` and `bytes` are those of all of these."""

    sources: tuple[TableSource, ...]
    listing: tuple[ListedTable, ...] | None
    files: tuple[DataFile, ...]
    rows: int
    bytes: int


class TableResolver:
    """Resolves references through `Tables.plan`. A name matches as it is written, else without regard to case."""

    def __init__(self, tables: ReadableTables, *, freeze_system_tables: FreezeTables = nullcontext) -> None:
        """The system tables of a statement are planned in one block of `freeze_system_tables`, so that they agree."""
        self._tables = tables
        self._freeze_system_tables = freeze_system_tables

    async def resolve(self, needs: StatementNeeds, snapshot_id: str | None) -> ResolvedTables:
        """Plan all tables of a statement.

        Raises ErrBadRequest for an unknown table or snapshot, with the position, and for a `snapshot_id` with more or
        less than one table; ErrForbidden for a name that is a file's.
        """
        plans = await self._plan_all(needs.references)
        found = [(reference, plan) for reference, plan in plans if plan is not None]
        if snapshot_id is not None:
            found = [await self._travel(found, snapshot_id)]
        listing = None
        if needs.catalog:
            listing = tuple(map(_list_table, await self._tables.list()))
        files = [file for _, plan in found for file in plan.files]
        return ResolvedTables(
            sources=tuple(_make_source(reference, plan) for reference, plan in found),
            listing=listing,
            files=tuple(files),
            rows=sum(file.rows for file in files),
            bytes=sum(file.size for file in files),
        )

    async def _plan_all(
        self, references: Sequence[TableReference]
    ) -> Sequence[tuple[TableReference, TablePlan | None]]:
        names = {name.lower() for reference in references for name in possible_names(reference.path)}
        system_tables = frozenset(filter(is_system_table, names))
        async with self._freeze_system_tables(system_tables) if system_tables else nullcontext():
            return [(reference, await self._plan(reference)) for reference in references]

    async def _plan(self, reference: TableReference) -> TablePlan | None:
        names = possible_names(reference.path)
        for name in names:
            try:
                return await self._tables.plan(name, snapshot_id=reference.version)
            except ErrNotFound as error:
                if reference.version is not None and await self._tables.find(name) is not None:
                    raise _bad_reference(reference, error.message) from None
            except ErrBadRequest as error:
                if error.field != "name":  # else no table can have this name: it is not found
                    raise
        known = [manifest.name for manifest in await self._tables.list()]
        folded = [name for name in known if name.lower() in {wanted.lower() for wanted in names}]
        if folded:
            return await self._tables.plan(folded[0], snapshot_id=reference.version)
        if reference.optional:
            return None
        raise _unknown_table(reference, names, known)

    async def _travel(
        self, found: Sequence[tuple[TableReference, TablePlan]], snapshot_id: str
    ) -> tuple[TableReference, TablePlan]:
        """Plan the only table again, at another snapshot."""
        if len(found) != 1:
            raise ErrBadRequest(
                f"`snapshot` applies to one table, and the statement reads {len(found)}: "
                "write AT (VERSION => ...) behind a table's name",
                field="snapshot",
            )
        reference, plan = found[0]
        if reference.version is not None:
            raise ErrBadRequest("the statement names a version and `snapshot` another one", field="snapshot")
        try:
            return reference, await self._tables.plan(plan.name, snapshot_id=snapshot_id)
        except ErrNotFound as error:
            raise ErrBadRequest(error.message, field="snapshot") from None


def possible_names(path: Sequence[str]) -> list[str]:
    """The tables that a name may mean: `a.b` is `a/b`, or else the table whose name has a dot."""
    parts = list(path)
    if len(parts) > 2 and parts[0].lower() == DATABASE:
        del parts[0]
    if len(parts) == 2 and parts[0].lower() == SCHEMA:
        del parts[0]
    names = ["/".join(parts)]
    if len(parts) > 1:
        names.append(".".join(parts))
    return names


def _unknown_table(
    reference: TableReference, names: Sequence[str], known: Sequence[str]
) -> ErrBadRequest | ErrForbidden:
    if len(names[0]) > MAX_PATH:
        return _bad_reference(reference, f'there is no table "{names[0][:MAX_SHOWN]}…"')
    if _FILE.fullmatch(names[-1]) or _FILE.fullmatch(names[0]):
        return ErrForbidden(
            f"the statement reads the file {names[-1]!r}: a statement can only read the tables of the lake",
            details=_details(reference),
        )
    close = get_close_matches(names[0].lower(), known, n=1)
    hint = f': did you mean "{close[0]}"?' if close else ""
    return _bad_reference(reference, f'there is no table "{names[0]}"{hint}')


def _bad_reference(reference: TableReference, message: str) -> ErrBadRequest:
    return ErrBadRequest(message, details=_details(reference))


def _details(reference: TableReference) -> dict[str, object] | None:
    return None if reference.position is None else {"position": reference.position}


def _make_source(reference: TableReference, plan: TablePlan) -> TableSource:
    return TableSource(
        path=reference.path,
        version=reference.version,
        fields=describe_fields(plan.fields),
        files=describe_files(plan.files),
        query=plan.query,
    )


def _list_table(manifest: Manifest) -> ListedTable:
    return ListedTable(name=manifest.name, columns=tuple((column.name, column.type) for column in manifest.columns))
