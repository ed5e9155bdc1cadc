"""The engine's errors as failures of the call, in the engine's own sentence and without absolute paths."""

from __future__ import annotations

import re

import duckdb
import msgspec

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.engines.database import hide_directory
from lakehouse.services.engines.query_child.rewriting import Rewritten
from lakehouse.services.engines.query_messages import BAD_REQUEST, FORBIDDEN, UNPROCESSABLE

_TEXT = re.compile(r"^(?:[A-Za-z -]+ Error: )?(?P<document>\{.*\})\s*$", re.DOTALL)
_HINT = re.compile(r"\n\nPossible solutions:.*", re.DOTALL)  # settings that a client cannot change
_OUT_OF_SPACE = re.compile(r"max_temp_directory_size|temp_directory|No space left|File too large", re.IGNORECASE)
_INTERNAL = (duckdb.InternalException, duckdb.FatalException)


class _Document(msgspec.Struct, frozen=True):
    """The fields of an error that are read (`errors_as_json`)."""

    exception_message: str
    position: str | None = None


def make_call_error(error: duckdb.Error, rewritten: Rewritten) -> CallError:
    """Make the failure of the call from an error of the statement."""
    message, offset = _read(error)
    position = None if offset is None else rewritten.position_of(offset)
    details = None if position is None else {"position": position}
    if isinstance(error, duckdb.OutOfMemoryException):
        what = "the space for temporary files" if _OUT_OF_SPACE.search(message) else "its memory"
        return CallError(UNPROCESSABLE, f"the query needs more than {what}: {_shorten(message)}", replace=True)
    if isinstance(error, _INTERNAL):
        return CallError(UNPROCESSABLE, f"the engine failed: {message}", details=details, replace=True)
    if isinstance(error, duckdb.PermissionException):
        return CallError(FORBIDDEN, message, details=details)
    if isinstance(error, duckdb.IOException):
        kind = UNPROCESSABLE
        return CallError(kind, f"the engine cannot read or write a file: {message}", replace=True)
    return CallError(BAD_REQUEST, message, details=details)


def _read(error: duckdb.Error) -> tuple[str, int | None]:
    """The sentence of an error, and its position as an offset in bytes."""
    text = str(error)
    if found := _TEXT.match(text):
        try:
            document = msgspec.json.decode(found["document"], type=_Document)
        except msgspec.DecodeError:
            return _clean(text), None
        position = document.position
        return _clean(document.exception_message), None if position is None else int(position)
    return _clean(text), None


def _clean(message: str) -> str:
    return hide_directory(_HINT.sub("", message)).strip()


def _shorten(message: str, limit: int = 200) -> str:
    line = message.splitlines()[0] if message else ""
    return line if len(line) <= limit else line[:limit] + "…"
