"""Readers for the keys of a lake beyond one machine: bucket, catalog, names. They raise ValueError without secrets."""

from __future__ import annotations

import re

from lakehouse.config.urls import BaseURL, redact, separate_credentials
from lakehouse.config.values import optional_url, quoted, url

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9_\-][A-Za-z0-9_.\-]*(?:/[A-Za-z0-9_\-][A-Za-z0-9_.\-]*)*")


def warehouse(value: object) -> str:
    """``s3://bucket`` or ``s3://bucket/prefix``, without a slash at its end; an empty string: below `[lake] path`."""
    if value == "":
        return ""
    if isinstance(value, str) and value.startswith("s3://"):
        bucket, _, prefix = value.removeprefix("s3://").rstrip("/").partition("/")
        if _BUCKET.fullmatch(bucket) and (not prefix or _PREFIX.fullmatch(prefix)):
            return value.rstrip("/")
    raise ValueError(
        "must be empty, or a bucket with a prefix of letters, digits, `_`, `-`, `.` and `/`, without keys, as in "
        f'"s3://bucket/prefix" (got {_redacted(value)})'
    )


POSTGRESQL = "postgresql://"


def catalog(value: object) -> str:
    """A PostgreSQL database, or the URL of an Iceberg REST catalog; an empty string: below `[lake] path`."""
    if isinstance(value, BaseURL):
        return value
    if not isinstance(value, str) or not value.startswith(POSTGRESQL):
        return optional_url(value)
    return _postgresql(value)


def record_store(value: object) -> str:
    """A PostgreSQL database for the records of a service; an empty string: below `[lake] path`."""
    if isinstance(value, BaseURL):
        return value
    if value == "":
        return ""
    if not isinstance(value, str) or not value.startswith(POSTGRESQL):
        raise ValueError(f'must be empty, or a database as in "postgresql://user@host/lake" (got {_redacted(value)})')
    return _postgresql(value)


def _postgresql(value: str) -> str:
    """A URL whose user and password are kept apart from its text."""
    found = separate_credentials(value)
    host, _, database = found.removeprefix(POSTGRESQL).partition("/")
    if not host or not database or "?" in database:
        raise ValueError(
            f'must name a host and a database, as in "postgresql://user@host/lake" (got {_redacted(value)})'
        )
    return found


QDRANT, CHROMA = "qdrant+", "chroma+"
"""What the URL of a server begins with, to say what server it is."""


def vector_store(value: object) -> str:
    """A PostgreSQL database with pgvector, or a server of Qdrant or Chroma; an empty string: below `[lake] path`."""
    if isinstance(value, BaseURL):
        return value
    if value == "":
        return ""
    if isinstance(value, str) and value.startswith(POSTGRESQL):
        return _postgresql(value)
    if isinstance(value, str) and value.startswith((QDRANT, CHROMA)):
        kind, _, address = value.partition("+")
        found = url(address)
        return BaseURL(f"{kind}+{found}", found.authorization, found.secrets)
    raise ValueError(
        'must be empty, a database, as in "postgresql://user@host/lake", or a server, as in "qdrant+http://host:6333"'
        f' or "chroma+http://host:8000" (got {_redacted(value)})'
    )


_WORD = re.compile(r"[A-Za-z0-9_\-]{1,64}")


def word(value: object) -> str:
    """A word of letters, digits, `_` and `-`."""
    if isinstance(value, str) and _WORD.fullmatch(value):
        return value
    raise ValueError(f"must be a word of letters, digits, `_` and `-` (got {quoted(value)})")


def _redacted(value: object) -> str:
    return quoted(redact(value) if isinstance(value, str) else value)
