"""The errors of a call, by the status that the client gets."""

from __future__ import annotations

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.documents.messages import BAD_REQUEST, TOO_LARGE, UNPROCESSABLE


def unprocessable(message: str, **details: object) -> CallError:
    """A file that cannot be read: 422."""
    return CallError(UNPROCESSABLE, message, details=details)


def too_large(message: str) -> CallError:
    """A limit of size: 413."""
    return CallError(TOO_LARGE, message, details={})


def bad_request(message: str, field: str) -> CallError:
    """A parameter that is not valid: 400."""
    return CallError(BAD_REQUEST, message, details={"field": field})
