"""The messages between a remote engine in the parent and its children, which write the answers.

child  <── RemoteRequest, in JSON: msgpack has no integers of more than 64 bits
child  ──> what a child of the query engine sends: QueryWhole, or QueryHeader, bytes and QueryEnd
"""

from __future__ import annotations

import msgspec

from lakehouse.services.contracts.query_engine import ResultFormat


class SourceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the statements of a child run: what the configuration says of one engine.

    `source` is "package.module:Class" of the child's client. There are no secrets in it: they come with each request.
    """

    source: str
    url: str = ""
    user: str = ""
    catalog: str = ""
    schema: str = ""
    options: dict[str, str] = {}


class VersionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The question for the version of a server: for a pipe, never for a log, since it has secrets."""

    settings: SourceSettings
    password: str = ""
    token: str = ""


class RemoteRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One statement that was checked: for a pipe, never for a log, since it has secrets.

    One that is no query shows or explains something (SHOW, DESCRIBE, EXPLAIN), and has no place within a query.
    `params` are its parameters, values of JSON, in order or by name. `timeout` is in seconds. `tag` is a word that no
    other statement has, by which it can be found and cancelled on the server.
    """

    sql: str
    tag: str
    timeout: float
    is_query: bool = True
    params: list[object] | dict[str, object] = []
    format: ResultFormat = "arrow"
    max_rows: int | None = None
    password: str = ""
    token: str = ""
