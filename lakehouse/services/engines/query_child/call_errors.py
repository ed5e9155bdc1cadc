"""The errors of the engine as errors of the call, in its own sentence and without absolute paths."""

from __future__ import annotations

import json
import re

import duckdb

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.engines.database import hide_directory
from lakehouse.services.engines.query_child.rewriting import Rewritten
from lakehouse.services.engines.query_messages import BAD_REQUEST, FORBIDDEN, UNPROCESSABLE

_HINT = re.compile(r"\n\nPossible solutions:.*", re.DOTALL)  # settings that a client cannot change
_OUT_OF_SPACE = re.compile(r"max_temp_directory_size|temp_directory|No space left|File too large", re.IGNORECASE)
MAX_MESSAGE = 4000
"""Characters of a sentence: some of the engine's quote the rest of the statement, up to 4 MiB."""
_DOCUMENT = '{"exception_type"'

OUT_OF_MEMORY, PERMISSION, IO = "Out of Memory", "Permission", "IO"
_BROKEN = frozenset({"INTERNAL", "Internal", "FATAL", "Fatal"})
_KINDS: tuple[tuple[type[duckdb.Error], str], ...] = (
    (duckdb.OutOfMemoryException, OUT_OF_MEMORY),
    (duckdb.PermissionException, PERMISSION),
    (duckdb.IOException, IO),
    (duckdb.InternalException, "Internal"),
    (duckdb.FatalException, "Fatal"),
)


def make_call_error(error: Exception, rewritten: Rewritten) -> CallError:
    """Make the error of the call from one of duckdb, or of nanoarrow while it reads the engine's stream.

    An engine that has used up its memory, or that is broken, is replaced.
    """
    kind, message, offset = _read(error)
    position = None if offset is None else rewritten.position_of(offset)
    details = None if position is None else {"position": position}
    if kind == OUT_OF_MEMORY:
        what = "the space for temporary files" if _OUT_OF_SPACE.search(message) else "its memory"
        return CallError(UNPROCESSABLE, f"the query needs more than {what}: {_first_line(message)}", replace=True)
    if kind in _BROKEN:
        return CallError(UNPROCESSABLE, f"the engine failed: {_first_line(message)}", replace=True)
    if kind == IO:
        return CallError(UNPROCESSABLE, f"the engine cannot read or write a file: {message}", replace=True)
    return CallError(FORBIDDEN if kind == PERMISSION else BAD_REQUEST, message, details=details)


def _read(error: Exception) -> tuple[str, str, int | None]:
    """The kind of an error, its sentence, and its position as an offset in bytes."""
    text = str(error)
    if (start := text.find(_DOCUMENT)) >= 0:
        try:
            document, _ = json.JSONDecoder().raw_decode(text, start)
        except ValueError:
            document = {}
        if isinstance(document.get("exception_message"), str):
            position = document.get("position")
            offset = int(position) if isinstance(position, str) and position.isdigit() else None
            return str(document["exception_type"]), _clean(document["exception_message"]), offset
    kind = next((name for known, name in _KINDS if isinstance(error, known)), "")
    return kind, _clean(text), None


def _clean(message: str) -> str:
    return _shorten(hide_directory(_HINT.sub("", message)).strip(), MAX_MESSAGE)


def _first_line(message: str, limit: int = 200) -> str:
    return _shorten(message.splitlines()[0] if message else "", limit)


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + "…"
