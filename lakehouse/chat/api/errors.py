"""From what was raised to the one failure that a caller is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from lakehouse.core.errors import LakehouseError

_log = logging.getLogger("lakehouse.chat")


def single_failure(raised: BaseException) -> LakehouseError | None:
    """The failure to tell when `raised` is one or is a group of nothing else; None when something else is in it.

    Nurseries raise groups. A `Cancelled` in one does not count: the scope that it is from is still cancelled and says
    so again at the next checkpoint. A defect beside a failure counts: it must not vanish behind a clean answer.
    """
    if isinstance(raised, LakehouseError):
        return raised
    if not isinstance(raised, BaseExceptionGroup):
        return None
    leaves = [leaf for leaf in _leaves(raised) if not isinstance(leaf, trio.Cancelled)]
    failures = [leaf for leaf in leaves if isinstance(leaf, LakehouseError)]
    return failures[0] if failures and len(failures) == len(leaves) else None


def to_client_error(raised: Exception | BaseExceptionGroup[BaseException]) -> LakehouseError:
    """The failure that the client hears of; a defect goes to the log, and an interrupt of the program goes on."""
    error = single_failure(raised)
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
        raise single_failure(group) or group.split(LakehouseError)[1] or group from group


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for inner in group.exceptions:
        if isinstance(inner, BaseExceptionGroup):
            yield from _leaves(inner)
        else:
            yield inner
