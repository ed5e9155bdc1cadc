"""What PostgreSQL refused, as errors of the service. No text has a password: libpq puts none into its messages."""

from __future__ import annotations

from lakehouse.core.errors import (
    ErrInsufficientStorage,
    ErrTimeout,
    ErrUnavailable,
    ErrUnreached,
    ErrUpstream,
    LakehouseError,
)
from lakehouse.services.postgres.address import NAME, PostgresAddress

RETRY_SECONDS = 1.0

_BUSY = {
    "53300": "has no connection left",
    "57P03": "is starting or stopping",
    "57P01": "is stopping",
    "57P02": "is restarting after a crash",
    "55P03": "has the rows locked for longer than 5 s",
    "40001": "has changed the rows meanwhile",
    "40P01": "has found a deadlock",
}
"""Codes after which the same request may succeed."""
_REFUSED = ("28", "3D", "42501")
"""The beginnings of codes for a user, a password, a database or a right that is missing."""


def make_failure(error: Exception, address: PostgresAddress, *, connecting: bool = False) -> LakehouseError:
    """The error that a client gets for one of psycopg2's."""
    code = str(getattr(error, "pgcode", None) or "")
    where = address.shown
    if code in _BUSY:
        return ErrUnavailable(f"{where} {_BUSY[code]}", retry_after=RETRY_SECONDS, retryable=True)
    if code == "57014":
        return ErrTimeout(f"{where} did not end a statement in time")
    if code == "53100":
        return ErrInsufficientStorage(f"the disk of {where} is full: nothing was changed")
    sentence = _read_sentence(error)
    if connecting and not code:
        starting = next((text for text in ("starting up", "shutting down", "too many clients") if text in sentence), "")
        if starting:
            return ErrUnavailable(f"{where} refuses connections: {starting}", retry_after=RETRY_SECONDS, retryable=True)
        if "authentication failed" in sentence or "no password supplied" in sentence or "no pg_hba" in sentence:
            return ErrUpstream(
                f"{where} refuses user or password (PGPASSWORD in lake.key_file or the environment): {sentence}",
                provider=NAME,
            )
        if "FATAL" in sentence:
            return ErrUpstream(f"{where} refuses the connection: {sentence}", provider=NAME)
        return ErrUnreached(f"{where} cannot be reached: {sentence}", provider=NAME)
    if code.startswith(_REFUSED):
        return ErrUpstream(f"{where} refuses it: {sentence}", provider=NAME)
    return ErrUpstream(f"{where} failed: {sentence}", provider=NAME)


def _read_sentence(error: Exception) -> str:
    """The first line of the server's message, without its label."""
    diagnosed = getattr(getattr(error, "diag", None), "message_primary", None)
    lines = str(diagnosed or error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
