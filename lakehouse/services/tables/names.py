"""Names of tables: the rules, conflicts, and the identifiers of tables in the catalog.

A name has segments that are separated by slashes: the last one is the table, the others are namespaces. In the catalog
a name without a slash is in the namespace `main`, and a dot in a segment is written as `~`, because the catalog
separates namespaces by dots. Names have no `~`, so the encoding is reversible.
"""

from __future__ import annotations

import re

from lakehouse.core.errors import ErrBadRequest

MAX_NAME = 200
"""Bytes of a name."""

RESERVED = frozenset({"lakehouse", "main", "information_schema"})
"""First parts of names that SQL needs for itself."""

CATALOG = "lake"
"""The name of the catalog in a folder, a part of every key in its database: other engines must use the same."""

MAIN = "main"
DROPPED = ("lakehouse", "dropped")
"""The namespace of dropped tables: `<name>@<milliseconds>`, a slash written as `:`."""

_ALLOWED = re.compile(r"[A-Za-z0-9_.\-/]+")


def check_name(name: str) -> str:
    """Return the name. Raises ErrBadRequest if it is not a valid one."""
    if problem := find_problem(name):
        raise ErrBadRequest(f"`name` {problem}", field="name")
    return name


def find_problem(name: str) -> str:
    """Say what is wrong with a name, or return an empty string."""
    if not name:
        return "is required: the name of a table"
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME:
        return f"is longer than {MAX_NAME} bytes"
    if not _ALLOWED.fullmatch(name):
        return f"{name!r} is not valid: it has other characters than letters, digits, `_`, `-`, `.` and `/`"
    segments = name.split("/")
    if "" in segments or "." in segments or ".." in segments:
        return f"{name!r} is not valid: a segment between slashes is not empty, `.` or `..`"
    if canonical(name).partition("/")[0] in RESERVED:
        return f"{name!r} is reserved: names that begin with {', '.join(sorted(RESERVED))} belong to SQL"
    return ""


def canonical(name: str) -> str:
    """The form in which two names are equal that SQL cannot distinguish: `A.b` and `a/b`."""
    return name.lower().replace(".", "/")


def encode_name(name: str) -> tuple[str, str]:
    """The namespace and the table's name in the catalog."""
    namespace, _, table = name.replace(".", "~").rpartition("/")
    return namespace.replace("/", ".") or MAIN, table


def decode_name(namespace: str, table: str) -> str | None:
    """The name of a table of the catalog; None for a dropped table, and for one that has no valid name here."""
    if namespace == MAIN:
        name = table.replace("~", ".")
    elif "." in table:
        return None
    else:
        name = f"{namespace.replace('.', '/')}/{table}".replace("~", ".")
    return None if find_problem(name) or encode_name(name) != (namespace, table) else name


def identifier(name: str) -> tuple[str, ...]:
    """The identifier for pyiceberg."""
    namespace, table = encode_name(name)
    return (*namespace.split("."), table)


def list_data_files(name: str, commit_id: str, count: int) -> list[str]:
    """The paths that the data files of a commit get, relative to the lake."""
    return [f"datasets/{name}/data/{commit_id}-{number}.parquet" for number in range(count)]


def encode_dropped(name: str, dropped_ms: int) -> str:
    """The table's name in the namespace of dropped tables."""
    return f"{name.replace('.', '~').replace('/', ':')}@{dropped_ms}"


def decode_dropped(table: str) -> tuple[str, int] | None:
    """The former name of a dropped table and when it was dropped, in milliseconds; None for a foreign entry."""
    encoded, _, dropped_ms = table.rpartition("@")
    if not encoded or not dropped_ms.isdecimal():
        return None
    return encoded.replace("~", ".").replace(":", "/"), int(dropped_ms)
