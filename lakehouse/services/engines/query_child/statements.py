"""The check of a statement: one statement that reads, and the tables that it reads."""

from __future__ import annotations

import re
from dataclasses import dataclass

import duckdb

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.engines.database import quote_name
from lakehouse.services.engines.query_child import syntax_tree
from lakehouse.services.engines.query_child.call_errors import make_call_error
from lakehouse.services.engines.query_child.rewriting import Edit, Rewritten
from lakehouse.services.engines.query_child.syntax_tree import forbidden, path_of
from lakehouse.services.engines.query_messages import BAD_REQUEST, StatementNeeds, TableReference
from lakehouse.services.engines.syntax_nodes import Node, decode_tree

DATABASE = "memory"
"""The name of the engine's own database, as the catalog shows it."""
_OWN_NAMES = frozenset({DATABASE, "system", "temp"})
_NO_LOCATION = 2**63

_EXPLAIN = re.compile(
    rb"\s*explain\b(?:\s+analy[sz]e\b)?\s*(?:\(\s*format\s+\w+\s*\)\s*)?", re.IGNORECASE
)  # without comments
_SHOW_TABLES = re.compile(r"\s*show\s+tables\s*", re.IGNORECASE)
_IDENTIFIER = rb'(?:"(?:[^"]|"")*"|\'(?:[^\']|\'\')*\'|[A-Za-z_\x80-\xff][\w$\x80-\xff]*)'
_NAME = re.compile(_IDENTIFIER + rb"(?:\s*\.\s*" + _IDENTIFIER + rb")*")
_AT = re.compile(rb"\bat\s*\(\s*version\s*=>\s*(?:\d+|'\d+')\s*\)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement that may run: its text without the semicolon, edited so that each table is found by its address."""

    rewritten: Rewritten
    needs: StatementNeeds
    explains: bool = False
    lists_tables: bool = False
    repeatable: bool = True
    """Whether it may be prepared and run again on the same connection."""


def check_statement(connection: duckdb.DuckDBPyConnection, sql: str) -> Statement:
    """Check a statement. Raises CallError: bad request, or forbidden, naming what is not allowed."""
    original = Rewritten(sql)
    try:
        kind = _kind_of(connection, sql)
        sql = _cut_semicolon(sql)
        start = _start_of_query(sql) if kind == "EXPLAIN" else 0
        tree = _parse(connection, sql[start:], kind)
    except duckdb.Error as error:
        raise make_call_error(error, original) from None
    findings = syntax_tree.inspect_tree(tree)
    return _make_statement(sql, len(sql[:start].encode()), findings, explains=kind == "EXPLAIN")


def _kind_of(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The kind of the only statement: SELECT or EXPLAIN."""
    try:
        kinds = [str(statement.type).rpartition(".")[2] for statement in connection.extract_statements(sql)]
    except ValueError:  # a kind that the Python package does not know
        raise forbidden("the statement is not a query") from None
    if not kinds:
        raise CallError(BAD_REQUEST, "there is no statement in `sql`")
    if len(kinds) > 1:
        raise CallError(BAD_REQUEST, f"`sql` has {len(kinds)} statements: one statement is run at a time")
    if kinds[0] not in ("SELECT", "EXPLAIN", "MULTI"):
        raise forbidden(f"the statement is {_verb_of(sql, kinds[0])}")
    return kinds[0]


def _verb_of(sql: str, kind: str) -> str:
    """The first word of a statement, as it is written; else its kind."""
    found = re.match(r"(?:\s+|--[^\n]*\n|/\*.*?\*/)*([A-Za-z_]+)", sql, re.DOTALL)
    return found[1].upper() if found else kind


def _cut_semicolon(sql: str) -> str:
    """Cut the statement before its semicolon, after which there are only comments."""
    if ";" not in sql:
        return sql
    encoded = sql.encode()
    for offset, kind in duckdb.tokenize(sql):
        if kind == duckdb.token_type.operator and encoded[offset : offset + 1] == b";":
            return encoded[:offset].decode()
    return sql


def _start_of_query(sql: str) -> int:
    """Where the query of an EXPLAIN begins.

    The engine says where its comments end: what it runs must be what is checked.
    """
    found = _EXPLAIN.match(_blank_comments(sql))
    if found is None:
        raise CallError(BAD_REQUEST, "EXPLAIN is written as EXPLAIN [ANALYZE] or EXPLAIN (FORMAT json) before a query")
    return len(sql.encode()[: found.end()].decode())


def _blank_comments(sql: str) -> bytes:
    """The statement with spaces in the place of its comments."""
    encoded = bytearray(sql.encode())
    tokens = duckdb.tokenize(sql)
    ends = [offset for offset, _ in tokens[1:]] + [len(encoded)]
    for (start, kind), end in zip(tokens, ends, strict=True):
        if kind == duckdb.token_type.comment:
            encoded[start:end] = b" " * (end - start)
    return bytes(encoded)


def _parse(connection: duckdb.DuckDBPyConnection, query: str, kind: str) -> Node:
    (text,) = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()[0]
    tree = decode_tree(text)
    if tree is None:
        raise CallError(BAD_REQUEST, "the statement is nested too deeply")
    if not tree.get("error"):
        return tree
    if kind == "MULTI":
        raise CallError(BAD_REQUEST, "PIVOT needs a list of its columns: PIVOT ... ON column IN (value, value)")
    if tree.get("error_type") == "parser":
        raise CallError(BAD_REQUEST, str(tree.get("error_message")))
    raise forbidden(f"EXPLAIN of {_verb_of(query, 'this statement')}" if kind == "EXPLAIN" else "the statement")


def _make_statement(sql: str, start: int, findings: syntax_tree.Findings, *, explains: bool) -> Statement:
    encoded = sql.encode()
    references: dict[tuple[tuple[str, ...], str | None], TableReference] = {}
    edits: dict[int, list[Edit]] = {}
    catalog = findings.catalog
    for node in findings.tables:
        path = path_of(node)
        if syntax_tree.is_catalog_view(path):
            catalog = True
            continue
        offset = _offset_of(node, start)
        reference = TableReference(
            path=path,
            version=syntax_tree.version_of(node),
            position=None if offset is None else len(encoded[:offset].decode(errors="ignore")),
            optional=len(path) == 1 and path[0].lower() in findings.named_queries,
        )
        references.setdefault((path, reference.version), reference)
        if changes := _address_edits(encoded, offset, reference):
            edits[changes[0].start] = changes
    for name in findings.shown:
        references.setdefault(((name,), None), TableReference(path=(name,), optional=True))
    return Statement(
        rewritten=Rewritten(sql, [edit for changes in edits.values() for edit in changes]),
        needs=StatementNeeds(references=tuple(references.values()), catalog=catalog),
        explains=explains,
        repeatable=not explains and not findings.changes_connection,
        lists_tables=findings.lists_tables and _SHOW_TABLES.fullmatch(sql) is not None,
    )


def _offset_of(node: Node, start: int) -> int | None:
    offset = node.get("query_location")
    return start + offset if isinstance(offset, int) and offset < _NO_LOCATION else None


def address_of(path: tuple[str, ...], version: str | None) -> tuple[str, str]:
    """The schema and the name of the view for a reference."""
    *schema, name = path[1:] if len(path) > 2 and path[0].lower() == DATABASE else path
    if version is not None:
        return " of ".join((f"version {version}", *schema)), name
    if not schema:
        return "main", name
    if len(schema) == 1 and schema[0].lower() in _OWN_NAMES:
        return f"{schema[0]} schema", name
    return "/".join(schema), name


def _address_edits(sql: bytes, offset: int | None, reference: TableReference) -> list[Edit]:
    """The edits that replace a table's name by the address of its view, where the name alone does not lead there."""
    path, version = reference.path, reference.version
    schema, name = address_of(path, version)
    if schema in ("main", path[0]) or (len(path) == 3 and path[1] == schema):
        return []
    written = f'"{"/".join(path)}"'
    found = None if offset is None else _NAME.match(sql, offset)
    if found is None:
        raise CallError(BAD_REQUEST, f"write the name {'.'.join(path)} as {written} here")
    edits = [Edit(found.start(), found.end(), f"{quote_name(schema)}.{quote_name(name)}".encode())]
    if version is not None:
        clause = _AT.search(sql, found.end())
        if clause is None:
            raise CallError(BAD_REQUEST, f"write the past state of {written} as AT (VERSION => {version})")
        edits.append(Edit(clause.start(), clause.end(), b" " * (clause.end() - clause.start())))
    return edits
