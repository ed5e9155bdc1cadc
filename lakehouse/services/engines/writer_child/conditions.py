"""The check of a condition of a user: one expression over the columns of a table, which reads nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lakehouse.services.engines.database import quote_name
from lakehouse.services.engines.syntax_nodes import FORBIDDEN_FUNCTIONS, Node, decode_tree, iterate_nodes
from lakehouse.services.engines.table_files import FieldInfo
from lakehouse.services.engines.writer_child.call_errors import bad_request, forbidden, read_message

if TYPE_CHECKING:
    import duckdb

FORBIDDEN = FORBIDDEN_FUNCTIONS | {"getvariable", "error"}
"""Functions that reveal or change something beside the row."""
SOURCES = frozenset({"BASE_TABLE", "EMPTY"})


def check_condition(connection: duckdb.DuckDBPyConnection, where: str, fields: Sequence[FieldInfo]) -> str:
    """Check a condition and return it. Raises the errors 400 and 403."""
    import duckdb

    row = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT 1 FROM t WHERE {where}"]).fetchone()
    document = decode_tree(str(row[0]) if row else "{}")
    if document is None:
        raise bad_request("where: the condition is nested too deeply")
    if document.get("error"):
        raise bad_request(f"where: {document.get('error_message')}")
    _check_tree(document)
    columns = ", ".join(f"CAST(NULL AS {field.type}) AS {quote_name(field.name)}" for field in fields)
    try:
        connection.execute(f"SELECT count(*) FROM (SELECT {columns}) WHERE ({where}\n)").fetchall()
    except (duckdb.ProgrammingError, duckdb.DataError) as error:
        raise bad_request(f"where: {read_message(error)}") from error
    return where


def _check_tree(document: Node) -> None:
    statements = document.get("statements")
    if not isinstance(statements, list) or len(statements) != 1:
        raise bad_request("where: one expression is needed")
    queries = 0
    for node in iterate_nodes(statements[0]):
        kind, kind_class = str(node.get("type", "")), node.get("class")
        queries += kind.endswith("_NODE")
        if kind_class == "SUBQUERY" or queries > 1:
            raise forbidden("where: a subquery is not permitted in a condition")
        if kind_class == "WINDOW":
            raise bad_request("where: a window function is not possible in a condition")
        if kind_class == "FUNCTION" and str(node.get("function_name", "")).lower() in FORBIDDEN:
            raise forbidden(f"where: the function {node.get('function_name')} is not permitted in a condition")
    _check_clauses(statements[0])


def _check_clauses(statement: object) -> None:
    """Refuse text that closes the condition and continues the query."""
    query = statement.get("node") if isinstance(statement, dict) else None
    if not isinstance(query, dict):
        raise bad_request("where: one expression is needed")
    groups = query.get("group_expressions")
    if query.get("modifiers") or groups or query.get("having") or query.get("qualify") or query.get("sample"):
        raise bad_request("where: one expression is needed")
    source = query.get("from_table")
    if not isinstance(source, dict) or source.get("type") not in SOURCES:
        raise forbidden("where: a condition reads no other table")
