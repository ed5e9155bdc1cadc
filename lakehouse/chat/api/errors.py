"""From what was raised to the one failure that a caller is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from lakehouse.core.errors import LakehouseError
from lakehouse.core.groups import single_failure

_log = logging.getLogger("lakehouse.chat")


def to_client_error(raised: Exception | BaseExceptionGroup[BaseException]) -> LakehouseError:
    """The failure that the client hears of; a defect goes to the log, and an interrupt of the program goes on."""
    error = single_failure(raised, LakehouseError)
    if error is not None:
        return error
    if not isinstance(raised, Exception):
        raise raised
    _log.error("a chat failed through a defect", exc_info=raised)
    return internal_error()


def internal_error() -> LakehouseError:
    """What a caller is told when the fault is in this program; the log has the rest."""
    return LakehouseError("the gateway failed on this request through a fault of its own; its log says how")


@contextmanager
def flatten_group() -> Iterator[None]:
    """Inside, a group of nothing but `LakehouseError`s becomes the first of them, and any other group loses them.

    For Quart-Trio answers a group with its first member that has an error handler, and forgets the rest.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        raise single_failure(group, LakehouseError) or group.split(LakehouseError)[1] or group from group
