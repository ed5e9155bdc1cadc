"""Tables and their versions, made once by whichever service comes first."""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.core.errors import ErrUpstream
from lakehouse.services.postgres.address import NAME, quote_name
from lakehouse.services.postgres.session import Session

VERSIONS = "schema_versions"
"""The table of versions, one row for each component."""


def migrate(session: Session, schema: str, component: str, scripts: Sequence[str]) -> None:
    """Bring the tables of a component to the version `len(scripts)`, by the scripts that are missing.

    Services that start at the same moment wait for each other. The scripts run in the schema, in the transaction of
    the session. Raises ErrUpstream if the tables are of a later version than this program knows.
    """
    if _find_version(session, schema, component) == len(scripts):
        return
    session.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"lakehouse schema {schema}",))
    session.execute(f"CREATE SCHEMA IF NOT EXISTS {quote_name(schema)}")
    table = f"{quote_name(schema)}.{VERSIONS}"
    session.execute(f"CREATE TABLE IF NOT EXISTS {table} (component text PRIMARY KEY, version integer NOT NULL)")
    found = _find_version(session, schema, component)
    if found > len(scripts):
        raise ErrUpstream(
            f"the tables of {component} in the schema {schema} have version {found}, and this program knows versions up"
            f" to {len(scripts)}",
            provider=NAME,
        )
    for script in scripts[found:]:
        session.execute(script)
    session.execute(
        f"INSERT INTO {table} VALUES (%s, %s) ON CONFLICT (component) DO UPDATE SET version = excluded.version",
        (component, len(scripts)),
    )


def _find_version(session: Session, schema: str, component: str) -> int:
    """The version of a component's tables; 0 if there are none."""
    table = f"{quote_name(schema)}.{VERSIONS}"
    if session.fetch_one("SELECT to_regclass(%s)", (table,)) == (None,):
        return 0
    found = session.fetch_one(f"SELECT version FROM {table} WHERE component = %s", (component,))
    return int(found[0]) if found else 0
