"""Where a database is, and how this process connects to it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from lakehouse.config.urls import BaseURL
from lakehouse.core.errors import ErrNotInstalled, ErrUpstream
from lakehouse.core.extras import install_hint, missing_modules

if TYPE_CHECKING:
    from psycopg2 import extensions

NAME = "PostgreSQL"
CONNECT_SECONDS = 3
"""Seconds for each address of the server's name."""
SETTINGS = """
SELECT set_config('search_path', concat_ws(', ', %s, 'public', (
    SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'vector'
)), FALSE);
SET client_connection_check_interval = '50ms';
SET lock_timeout = '5s';
SET idle_in_transaction_session_timeout = '60s';
SET TIME ZONE 'UTC';
SET jit = off
"""
"""With the interval, a statement ends soon after its connection was shut, also by the end of this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresAddress:
    """A database. `schema` has all tables of this lake; `load_password` may give another password with every call."""

    host: str
    port: int
    database: str
    user: str
    schema: str
    url_password: str = field(default="", repr=False)
    load_password: Callable[[], str] = field(repr=False)

    @property
    def password(self) -> str:
        """The password as it is now: that of the key file or the environment, else that of the URL."""
        return self.load_password() or self.url_password

    @property
    def shown(self) -> str:
        """The database for a person: no user, no password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"postgresql://{host}:{self.port}/{self.database}"


def make_address(url: str, *, schema: str, load_password: Callable[[], str]) -> PostgresAddress:
    """The address of a URL of the configuration, whose user and password are kept apart from its text."""
    parts = urlsplit(url)
    user, password = _read_basic(url)
    return PostgresAddress(
        host=parts.hostname or "",
        port=parts.port or 5432,
        database=unquote(parts.path.strip("/")),
        user=user,
        schema=schema,
        url_password=password,
        load_password=load_password,
    )


def make_schema_name(lake: str) -> str:
    """The schema of a lake by the name that all its services have in common."""
    return f"lakehouse_{lake}"


def quote_name(name: str) -> str:
    """A name of a schema or a table as a statement has it."""
    return '"' + name.replace('"', '""') + '"'


def connect(address: PostgresAddress, password: str) -> extensions.connection:
    """Open a connection; blocks for at most a few seconds. Raises psycopg2.Error, ErrNotInstalled, ErrUpstream."""
    if absent := missing_modules("psycopg2"):
        raise ErrNotInstalled(f"a database in PostgreSQL {install_hint('postgres', absent)}")
    import psycopg2

    connection = psycopg2.connect(
        host=address.host,
        port=address.port,
        dbname=address.database,
        user=address.user or None,
        password=password or None,
        connect_timeout=CONNECT_SECONDS,
        tcp_user_timeout=10_000,
        keepalives_idle=10,
        application_name="lakehouse",
    )
    connection.autocommit = True  # transactions are begun and ended by `Session`
    try:
        version = connection.server_version
        if version < 140_000:
            raise ErrUpstream(
                f"{address.shown} is PostgreSQL {version // 10_000}, and 14 or later is needed", provider=NAME
            )
        with connection.cursor() as cursor:
            cursor.execute(SETTINGS, (quote_name(address.schema),))
    except BaseException:
        connection.close()
        raise
    return connection


def _read_basic(url: str) -> tuple[str, str]:
    if not isinstance(url, BaseURL) or not url.authorization:
        return "", ""
    encoded = url.authorization.removeprefix("Basic ")
    user, _, password = base64.b64decode(encoded).decode("utf-8", "replace").partition(":")
    return user, password
