"""Failures of ADBC's driver for Flight SQL, as errors of a call to the child."""

from __future__ import annotations

import re

import adbc_driver_manager as adbc

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.engines.query_messages import BAD_REQUEST, TIMED_OUT, UNPROCESSABLE, UNREACHABLE

MAX_MESSAGE = 2000
"""Characters of a sentence of the server's."""
_AROUND = re.compile(r"^(?:\w+: )?(?:\[\w+\] )?|\s*\((?:\w+); [\w, ]+\).*$", re.DOTALL)
_OFFSET = re.compile(r"\bat (\d+):\d+ expected\b")
_OF_STATEMENT = re.compile(
    r"\b(parse|parser|plan|planning|analysis|bind|binder|catalog|cast|arrow|syntax|schema) error|"
    r"divide by zero|division by zero|error in (SQL|DataFusion|Arrow)",
    re.IGNORECASE,
)
"""What servers say of a statement that cannot be run, where their status says only that something failed."""
_Status = adbc.AdbcStatusCode
_KINDS = {
    _Status.INVALID_ARGUMENT: BAD_REQUEST,
    _Status.NOT_FOUND: BAD_REQUEST,
    _Status.NOT_IMPLEMENTED: BAD_REQUEST,
    _Status.ALREADY_EXISTS: BAD_REQUEST,
    _Status.INVALID_DATA: BAD_REQUEST,
    _Status.TIMEOUT: TIMED_OUT,
    _Status.IO: UNREACHABLE,
    _Status.UNAUTHENTICATED: UNREACHABLE,
    _Status.UNAUTHORIZED: UNREACHABLE,
}


def make_call_error(error: Exception) -> CallError:
    """Make the error of a call in the server's own sentence, with the position in the statement where it gives one."""
    status = error.status_code if isinstance(error, adbc.Error) else _Status.UNKNOWN
    message = _clean(str(error))
    kind = _KINDS.get(status) or _kind_by_sentence(str(error))
    if kind == TIMED_OUT:
        return CallError(kind, "the server of Flight SQL did not end the statement within its time")
    if status in (_Status.UNAUTHENTICATED, _Status.UNAUTHORIZED):
        return CallError(kind, f"the server of Flight SQL refuses the user, the password or the token: {message}")
    if kind == UNREACHABLE:
        return CallError(kind, f"the server at queryd.flightsql.url is not available: {message}")
    found = _OFFSET.search(message)
    return CallError(kind, message, details=None if found is None else {"position": int(found[1])})


def _kind_by_sentence(message: str) -> str:
    if re.search(r"\bUnavailable\b|connection (refused|reset)|transport is closing", message, re.IGNORECASE):
        return UNREACHABLE
    if "DeadlineExceeded" in message:
        return TIMED_OUT
    return BAD_REQUEST if _OF_STATEMENT.search(message) else UNPROCESSABLE


def _clean(message: str) -> str:
    text = _AROUND.sub("", message).strip()
    return text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + "…"
