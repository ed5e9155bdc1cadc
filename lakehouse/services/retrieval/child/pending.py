"""A call that is under way in the child, and how its failure is told."""

from __future__ import annotations

import logging

import msgspec

from lakehouse.core.errors import ErrInsufficientStorage, ErrUnavailable, LakehouseError, is_disk_full
from lakehouse.services.retrieval.messages import FAILED, OK, AnyCall, Failure

logger = logging.getLogger("lakehouse.retrieval")


class CallCancelled(Exception):
    """The client has cancelled the call."""


class Pending:
    """One call: its number, what it asks, and whether it was cancelled meanwhile."""

    __slots__ = ("body", "call", "cancelled", "number")

    def __init__(self, number: int, body: bytes, call: AnyCall) -> None:
        self.number = number
        self.body = body
        self.call = call
        self.cancelled = False
        """Whether the client has left; set by the main thread."""

    def check(self) -> None:
        """Raise CallCancelled if the client has left."""
        if self.cancelled:
            raise CallCancelled


def encode_reply(reply: object) -> bytes:
    """The body of a reply."""
    return OK + msgspec.msgpack.encode(reply)


def encode_failure(error: Exception) -> bytes:
    """The body that tells of a failure; one that is not the caller's is logged."""
    return FAILED + msgspec.msgpack.encode(make_failure(_convert(error)))


def make_failure(error: LakehouseError) -> Failure:
    """A failure as the client is told."""
    details = {name: value for name, value in (error.details or {}).items() if isinstance(value, int | str)}
    return Failure(code=type(error).__name__, message=error.message, field=error.field or "", details=details)


def _convert(error: Exception) -> LakehouseError:
    if isinstance(error, LakehouseError):
        return error
    if is_disk_full(error):
        return ErrInsufficientStorage("the disk of the lake is full: nothing was changed")
    logger.error("a call to the retrieval engine failed", exc_info=error)
    if isinstance(error, MemoryError):
        return ErrUnavailable("the retrieval engine has no memory left")
    return LakehouseError("the retrieval engine failed; the log has the reason")
