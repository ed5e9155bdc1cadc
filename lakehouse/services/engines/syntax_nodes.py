"""The syntax tree of a statement (`json_serialize_sql`), for the checks of both engines."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

Node = dict[str, object]

FORBIDDEN_FUNCTIONS = frozenset({
    "current_setting", "getenv", "nextval", "currval", "setval", "write_log", "parse_duckdb_log_message",
    "json_deserialize_sql", "pg_get_viewdef",
})  # fmt: skip
"""Scalar functions that reveal or change the engine."""


def decode_tree(text: str) -> Node | None:
    """Decode a serialized statement; None if it is nested too deeply."""
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except RecursionError:
        return None


def iterate_nodes(tree: object) -> Iterator[Node]:
    """Iterate over all nodes of a tree, in the order of the text."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting += reversed(node.values())
        elif isinstance(node, list):
            waiting += reversed(node)
