"""Failures of calls to Spark Connect, as errors of a call to the child."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status
from pyspark.sql.connect.proto import base_pb2

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.engines.query_messages import BAD_REQUEST, FORBIDDEN, TIMED_OUT, UNPROCESSABLE, UNREACHABLE

MAX_MESSAGE = 2000
"""Characters of a sentence of the server's."""
_OF_STATEMENT = frozenset(
    {
        "ParseException",
        "AnalysisException",
        "ArithmeticException",
        "DateTimeException",
        "IllegalArgumentException",
        "NumberFormatException",
        "UnsupportedOperationException",
    }
)
"""Names of exceptions whose cause is the statement; their subclasses name them as well."""
_LOST = re.compile(r"INVALID_HANDLE\.SESSION|INVALID_CURSOR|SESSION_(NOT_FOUND|CLOSED|CHANGED)")
_PLACE = re.compile(r"\(?line (\d+), pos(?:ition)? (\d+)\)?|line (\d+) pos (\d+)")
_OFFSET = re.compile(r"\bat (\d+):\d+ expected\b")
_BEHIND = re.compile(r"\n+== SQL.*|;?\s*\n['+!].*|\n+JVM stacktrace:.*|\s*SQLSTATE: \w+", re.DOTALL)
_UNREACHABLE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED})
_REFUSED = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})


class SessionLost(Exception):
    """The server does not know the session any more: it has restarted, or the session was idle for too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerError:
    """What a server says of a failure. `error_id` leads to its details."""

    code: grpc.StatusCode
    message: str
    classes: frozenset[str]
    state: str = ""
    error_id: str = ""

    def is_lost_session(self) -> bool:
        """Whether the session is gone, and nothing was done."""
        return _LOST.search(self.message) is not None

    def is_of_statement(self) -> bool:
        """Whether the statement or a value of its data is the cause."""
        return self.state[:2] in ("22", "42") or bool(self.classes & _OF_STATEMENT)


def read_error(error: grpc.RpcError) -> ServerError:
    """Read the status of a failed call."""
    message, classes, state, error_id = error.details() or "", frozenset[str](), "", ""
    if (status := rpc_status.from_call(error)) is not None:
        for detail in status.details:
            if detail.Is(ErrorInfo.DESCRIPTOR):
                info = ErrorInfo()
                detail.Unpack(info)
                found = re.findall(r"[\w.$]+", info.metadata.get("classes", "") + f" {info.reason}")
                classes = frozenset(name.rpartition(".")[2] for name in found)
                state, error_id = info.metadata.get("sqlState", ""), info.metadata.get("errorId", "")
                message = f"{info.metadata.get('errorClass', '')} {message}".strip()
    return ServerError(code=error.code(), message=message, classes=classes, state=state, error_id=error_id)


def make_call_error(error: ServerError, sql: str, details: base_pb2.FetchErrorDetailsResponse | None) -> CallError:
    """Make the error of a call in the server's own sentence, with the position in the statement where it is known."""
    if error.code in _UNREACHABLE:
        return unreachable(error.message)
    if error.code in _REFUSED:
        return CallError(UNREACHABLE, f"Spark refuses the user or the token (SPARK_TOKEN): {clean(error.message)}")
    if error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return CallError(TIMED_OUT, "Spark did not end the statement within its time")
    message = error.message
    if details is not None and details.errors:
        message = details.errors[0].message or message
    position = find_position(message, sql, [] if details is None else details.errors[:1])
    kind = BAD_REQUEST if error.is_of_statement() else UNPROCESSABLE
    return CallError(kind, clean(message), details=None if position is None else {"position": position})


def unreachable(reason: str) -> CallError:
    """The server cannot be reached, or not any more."""
    return CallError(UNREACHABLE, f"Spark at queryd.spark.url is not available: {clean(reason)}")


def not_a_query() -> CallError:
    """A statement that reads nothing, or more."""
    return CallError(FORBIDDEN, "for Spark the statement is not a query: one SELECT is run")


def find_position(message: str, sql: str, errors: Iterable[base_pb2.FetchErrorDetailsResponse.Error]) -> int | None:
    """The position of an error in characters from 0: from its context, or from its sentence."""
    for error in errors:
        for context in error.spark_throwable.query_contexts:
            if 0 <= context.start_index <= len(sql) and context.fragment:
                return int(context.start_index)
    if found := _PLACE.search(message):
        line, column = (int(number) for number in found.groups() if number is not None)
        lines = sql.splitlines(keepends=True)
        if 0 < line <= len(lines):
            return min(len(sql), sum(map(len, lines[: line - 1])) + column)
    if found := _OFFSET.search(message):
        return min(len(sql), int(found[1]))
    return None


def clean(message: str) -> str:
    """A sentence without the statement, plans and stack traces behind it."""
    text = _BEHIND.sub("", message.strip()).strip()
    return text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + "…"
