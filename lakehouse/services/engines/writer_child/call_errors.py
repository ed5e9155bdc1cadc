"""The errors of a call, by the status that the client gets. `details` are those of `LakehouseError`."""

from __future__ import annotations

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


def _make(kind: str, message: str, details: dict[str, object]) -> CallError:
    return CallError(kind, message, details={name: value for name, value in details.items() if value is not None})
