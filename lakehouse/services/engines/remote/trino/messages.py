"""The documents of Trino's protocol, and their errors as errors for clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from lakehouse.core.errors import (
    ErrBadRequest,
    ErrForbidden,
    ErrTimeout,
    ErrUnavailable,
    ErrUnprocessable,
    ErrUpstream,
    LakehouseError,
)

NAME = "Trino"


class Location(msgspec.Struct, frozen=True, rename="camel"):
    """Where an error is in the statement; both count from 1."""

    line_number: int
    column_number: int


class QueryError(msgspec.Struct, frozen=True, rename="camel"):
    """Why a statement failed."""

    message: str = ""
    error_name: str = ""
    error_type: str = ""
    error_location: Location | None = None


class Stats(msgspec.Struct, frozen=True, rename="camel"):
    """What a statement has read so far."""

    state: str = ""
    processed_rows: int = 0
    processed_bytes: int = 0
    physical_input_bytes: int = 0


class Warned(msgspec.Struct, frozen=True):
    """A warning about a statement."""

    message: str = ""


ABSENT = msgspec.Raw(b"null")


class Place(NamedTuple):
    """Where an error is in the client's statement: in characters from 0, and as a line and a column from 1."""

    position: int
    line: int
    column: int


class Page(msgspec.Struct, frozen=True, rename="camel"):
    """One answer to a request: columns as soon as they are known, rows, and where the next page is.

    `data` is an array of rows, as the server wrote it.
    """

    id: str = ""
    next_uri: str | None = None
    columns: msgspec.Raw = ABSENT
    data: msgspec.Raw = ABSENT
    stats: Stats = Stats()
    error: QueryError | None = None
    update_type: str | None = None
    warnings: tuple[Warned, ...] = ()


_UNAVAILABLE = frozenset({
    "SERVER_SHUTTING_DOWN", "SERVER_STARTING_UP", "NO_NODES_AVAILABLE", "QUERY_QUEUE_FULL", "TOO_MANY_REQUESTS_FAILED",
    "CLUSTER_OUT_OF_MEMORY", "REMOTE_HOST_GONE", "REMOTE_TASK_ERROR", "REMOTE_TASK_MISMATCH", "PAGE_TRANSPORT_ERROR",
    "PAGE_TRANSPORT_TIMEOUT", "TRANSACTION_EXPIRED",
})  # fmt: skip
"""Errors with which the same statement may succeed later."""
_LIMITS = frozenset({"EXCEEDED_CPU_LIMIT", "EXCEEDED_SCAN_LIMIT"})
_ENDED = frozenset({"USER_CANCELED", "ADMINISTRATIVELY_KILLED", "ADMINISTRATIVELY_PREEMPTED", "ABANDONED_QUERY"})


def make_error(error: QueryError, locate: Callable[[int, int], Place | None]) -> LakehouseError:
    """The error for the client of a statement. `locate` finds a line and a column of the server in the statement."""
    name, sentence = error.error_name, error.message or f"the statement failed ({error.error_name})"
    details: dict[str, object] = {"trino_error": name}
    if (said := error.error_location) is not None:
        place = locate(said.line_number, said.column_number)
        if place is not None:
            details["position"] = place.position
            prefix = f"line {said.line_number}:{said.column_number}:"
            if sentence.startswith(prefix):
                sentence = f"line {place.line}:{place.column}:{sentence.removeprefix(prefix)}"
    if name == "EXCEEDED_TIME_LIMIT":
        return ErrTimeout(sentence, error_class="timeout", details=details)
    if name == "PERMISSION_DENIED":
        return ErrForbidden(sentence, details=details)
    if name in _UNAVAILABLE:
        return ErrUnavailable(f"{NAME}: {sentence}", retryable=True, retry_after=1.0, details=details)
    if error.error_type == "INSUFFICIENT_RESOURCES" or name in _LIMITS or name in _ENDED:
        return ErrUnprocessable(sentence, details=details)
    if error.error_type == "USER_ERROR":
        return ErrBadRequest(sentence, details=details)
    return ErrUpstream(f"{NAME} failed: {sentence}", provider=NAME, error_class="upstream_error", details=details)
