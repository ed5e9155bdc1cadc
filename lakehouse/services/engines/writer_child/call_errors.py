"""The errors of a call, by the status that the client gets. `details` are those of `LakehouseError`."""

from __future__ import annotations

import msgspec

from lakehouse.process.calls.rpc_child import CallError

BAD_REQUEST = "bad request"
FORBIDDEN = "forbidden"
TOO_LARGE = "too large"
UNSUPPORTED = "unsupported"
UNPROCESSABLE = "unprocessable"
DISK_FULL = "disk full"
OUT_OF_MEMORY = "out of memory"


def bad_request(message: str, **details: object) -> CallError:
    """A parameter that is not valid: 400."""
    return _make(BAD_REQUEST, message, details)


def forbidden(message: str, **details: object) -> CallError:
    """An expression that is not permitted: 403."""
    return _make(FORBIDDEN, message, details)


def too_large(message: str, **details: object) -> CallError:
    """A limit of size: 413."""
    return _make(TOO_LARGE, message, details)


def unsupported(message: str, **details: object) -> CallError:
    """A file of a kind that is not read: 415."""
    return _make(UNSUPPORTED, message, details)


def unprocessable(message: str, **details: object) -> CallError:
    """A file that cannot be read as data: 422. Details are `line`, `column`, `value`, `offset`, where known."""
    return _make(UNPROCESSABLE, message, details)


def read_message(error: Exception) -> str:
    """The sentence of an error of DuckDB, which is a JSON document behind the name of its kind (`errors_as_json`)."""
    text = str(error)
    _, _, document = text.partition(": ")
    try:
        return str(msgspec.json.decode(document)["exception_message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return text


def _make(kind: str, message: str, details: dict[str, object]) -> CallError:
    return CallError(kind, message, details={name: value for name, value in details.items() if value is not None})
