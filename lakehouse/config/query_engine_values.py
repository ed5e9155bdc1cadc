"""Readers for the keys of the SQL engines beside the embedded one. They raise ValueError without secrets."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from lakehouse.config.urls import redact
from lakehouse.config.values import header, name_kind, quoted

_PROPERTY = re.compile(r"[A-Za-z0-9_.\-]{1,200}")
_NAME = re.compile(r"[A-Za-z0-9_$@\-]{0,128}")


def spark_url(value: object) -> str:
    """``sc://host:port``, with parameters such as ``/;use_ssl=true``, or an empty string."""
    return _engine_url(value, ("sc",), 'as in "sc://spark.internal:15002"')


def flight_sql_url(value: object) -> str:
    """``grpc://host:port``, ``grpc+tls://host:port`` for TLS, or an empty string."""
    return _engine_url(value, ("grpc", "grpc+tcp", "grpc+tls"), 'as in "grpc+tls://sql.internal:32010"')


def _engine_url(value: object, schemes: tuple[str, ...], example: str) -> str:
    if value == "":
        return ""
    if not isinstance(value, str):
        raise ValueError(f"must be a string {example} (got {name_kind(value)})")
    shown = quoted(redact(value))
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"must have a host and a port, {example} (got {shown})") from None
    if parts.scheme not in schemes or not host or any(c.isspace() or ord(c) < 33 for c in value):
        raise ValueError(f"must have a host and a port, {example} (got {shown})")
    if "@" in parts.netloc or re.search(r"[;?&](token|password|user_id)=", value, re.IGNORECASE):
        raise ValueError("must have no user and no secret in it: they have keys of their own")
    return value.rstrip("/") if parts.path == "/" else value


def optional_name(value: object) -> str:
    """A word of letters, digits, `_`, `-`, `$` and `@`, or an empty string."""
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise ValueError(f"must be a word of letters, digits, `_`, `-`, `$` and `@` (got {quoted(value)})")


def user(value: object) -> str:
    """A user's name: printable text without a colon, or an empty string."""
    text = header(value)
    if ":" in text or not text.isascii():
        raise ValueError(f"must be a name of ASCII characters without a colon (got {quoted(text)})")
    return text


def properties(value: object) -> dict[str, str]:
    """A table of properties, whose values are strings, numbers or true and false."""
    if not isinstance(value, dict):
        raise ValueError(f"must be a table (got {name_kind(value)})")
    read = {}
    for name, item in value.items():
        if not _PROPERTY.fullmatch(name):
            raise ValueError(f"has the property {quoted(name)}: a name has letters, digits, `_`, `.` and `-`")
        if not isinstance(item, str | int | float):
            raise ValueError(f"must have a string, a number, true or false as the value of {name}")
        read[name] = str(item).lower() if isinstance(item, bool) else str(item)
    return read
