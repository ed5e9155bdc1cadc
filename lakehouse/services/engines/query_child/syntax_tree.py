"""The walk over the syntax tree of a statement (`json_serialize_sql`), and what a statement may contain.

The rule is a list of what is allowed for everything that can read or change state: kinds of queries, kinds of sources
and table functions. Scalar functions are allowed except those that reveal or change the engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.engines.query_messages import BAD_REQUEST, FORBIDDEN
from lakehouse.services.engines.syntax_nodes import FORBIDDEN_FUNCTIONS, Node, iterate_nodes

QUERIES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
SOURCES = frozenset({
    "BASE_TABLE", "EMPTY", "EMPTY_FROM", "EXPRESSION_LIST", "JOIN", "PIVOT", "SHOW_REF", "SUBQUERY", "TABLE_FUNCTION",
})  # fmt: skip
TABLE_FUNCTIONS = frozenset({
    "generate_series", "json_each", "json_tree", "range", "repeat", "repeat_row", "unnest",
    "icu_calendar_names", "pg_timezone_names", "pragma_collations", "pragma_version", "test_all_types",
    "duckdb_functions", "duckdb_keywords",
})  # fmt: skip
CATALOG_FUNCTIONS = frozenset({
    "duckdb_columns", "duckdb_constraints", "duckdb_databases", "duckdb_indexes", "duckdb_schemas", "duckdb_tables",
    "duckdb_types", "duckdb_views", "pragma_show", "pragma_table_info",
})  # fmt: skip
"""Table functions that list tables and columns."""
CHANGING_FUNCTIONS = frozenset({"setseed"})
"""Functions whose effect would last on a connection that is used again."""
CATALOG_SCHEMAS = frozenset({"information_schema", "pg_catalog"})
CATALOG_VIEWS = frozenset({
    "duckdb_columns", "duckdb_constraints", "duckdb_databases", "duckdb_indexes", "duckdb_schemas", "duckdb_tables",
    "duckdb_types", "duckdb_views", "sqlite_master", "sqlite_schema", "sqlite_temp_master", "sqlite_temp_schema",
    "pg_am", "pg_attrdef", "pg_attribute", "pg_class", "pg_collation", "pg_constraint", "pg_database", "pg_depend",
    "pg_description", "pg_enum", "pg_index", "pg_indexes", "pg_namespace", "pg_proc", "pg_sequence", "pg_sequences",
    "pg_tables", "pg_tablespace", "pg_type", "pg_views",
})  # fmt: skip
"""Views that are found without a schema."""
FORBIDDEN_VIEWS = frozenset({"pg_settings", "pg_prepared_statements"})


@dataclass(slots=True)
class Findings:
    """What a statement contains: sources that are tables, names of common table expressions, use of the catalog."""

    tables: list[Node] = field(default_factory=list)
    named_queries: set[str] = field(default_factory=set)
    shown: list[str] = field(default_factory=list)
    catalog: bool = False
    lists_tables: bool = False
    changes_connection: bool = False


def inspect_tree(tree: object) -> Findings:
    """Walk over a tree. Raises CallError for something that is not allowed, naming it."""
    findings = Findings()
    for node in iterate_nodes(tree):
        kind = node.get("type")
        if isinstance(kind, str):
            if node.get("class") == "FUNCTION":
                _check_function(node)
                findings.changes_connection |= str(node["function_name"]).lower() in CHANGING_FUNCTIONS
            elif kind.endswith("_NODE"):
                _check_query(kind)
            elif "sample" in node and "class" not in node:
                _check_source(kind, node, findings)
        if isinstance(cte_map := node.get("cte_map"), dict):
            findings.named_queries.update(_cte_names(cte_map))
        elif isinstance(name := node.get("cte_name"), str):  # a recursive one
            findings.named_queries.add(name.lower())
    return findings


def _cte_names(cte_map: Node) -> Iterator[str]:
    entries = cte_map.get("map")
    for entry in entries if isinstance(entries, list) else ():
        yield str(entry["key"]).lower()


def _check_query(kind: str) -> None:
    if kind not in QUERIES:
        verb = kind.removesuffix("_NODE").removesuffix("_QUERY").replace("_", " ")
        raise forbidden(f"the statement contains {verb}")


def _check_function(node: Node) -> None:
    name = str(node["function_name"])
    if name.lower() in FORBIDDEN_FUNCTIONS:
        raise forbidden(f"the function {name}() is not available")


def _check_source(kind: str, node: Node, findings: Findings) -> None:
    if kind not in SOURCES:
        raise forbidden(f"the statement reads from {kind}")
    if kind == "BASE_TABLE":
        findings.tables.append(node)
    elif kind == "TABLE_FUNCTION":
        _check_table_function(node, findings)
    elif kind == "SHOW_REF" and node.get("query") is None:
        if node.get("show_type") in ("SHOW", "DESCRIBE"):
            findings.shown.append(str(node["table_name"]))
        findings.lists_tables |= str(node["table_name"]).strip('"').lower() == "tables"
        findings.catalog = True


def _check_table_function(node: Node, findings: Findings) -> None:
    function = node["function"]
    name = str(function["function_name"]) if isinstance(function, dict) else ""
    if name.lower() in CATALOG_FUNCTIONS:
        findings.catalog = True
    elif name.lower() not in TABLE_FUNCTIONS:
        raise forbidden(f"the table function {name}() is not available")


def path_of(node: Node) -> tuple[str, ...]:
    """The parts of the name of a table."""
    if isinstance(name := node.get("qualified_name"), dict):
        return tuple(map(str, name["path"]))
    parts = (node.get("catalog_name"), node.get("schema_name"), node.get("table_name"))
    return tuple(str(part) for part in parts if part)


def is_catalog_view(path: tuple[str, ...]) -> bool:
    """Whether a name is that of a view of the catalog. Raises CallError for one that reveals the engine."""
    name = path[-1].lower()
    if len(path) > 1 and path[-2].lower() not in CATALOG_SCHEMAS:
        return len(path) == 3 and path[0].lower() == "system" and name in CATALOG_VIEWS
    if name in FORBIDDEN_VIEWS:
        raise forbidden(f"the view {path[-1]} is not available")
    return len(path) > 1 or name in CATALOG_VIEWS


def forbidden(what: str) -> CallError:
    """The failure of a statement that does more than read tables."""
    return CallError(FORBIDDEN, f"{what}: a statement can only read the tables of the lake")


def version_of(node: Node) -> str | None:
    """The version in the AT clause of a table, as text; None without the clause. Raises CallError."""
    clause = node.get("at_clause")
    if not isinstance(clause, dict):
        return None
    constant = clause["expr"]
    value = _constant(constant) if isinstance(constant, dict) else None
    if clause.get("unit") != "VERSION" or value is None or not value.isdigit():
        raise CallError(BAD_REQUEST, "a past state of a table is written AT (VERSION => 123) with the id of a snapshot")
    return value


def _constant(node: Node) -> str | None:
    literal = node.get("literal", node.get("value"))
    if node.get("class") != "CONSTANT" or not isinstance(literal, dict):
        return None
    return str(literal.get("text", literal.get("value")))
