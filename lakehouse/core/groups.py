"""Exceptions that nurseries raised in groups, reduced to the one that matters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import trio

Failure = TypeVar("Failure", bound=BaseException)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """All exceptions of a group that are no groups themselves; `error` itself when it is no group.

    Cancellations are left out: the cancel scope that a `Cancelled` belongs to is still cancelled, and raises another
    at the next checkpoint.
    """
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    elif not isinstance(error, trio.Cancelled):
        yield error


def single_failure(error: BaseException, kind: type[Failure]) -> Failure | None:
    """`error` if it is of this kind; the first one of a group that holds nothing else; None otherwise.

    Any other exception in the group makes the result None, so that a defect is not hidden by an expected failure.
    """
    if isinstance(error, kind):
        return error
    found = list(leaves(error))
    failures = [leaf for leaf in found if isinstance(leaf, kind)]
    return failures[0] if failures and len(failures) == len(found) else None


def unwrap_single(error: BaseException) -> BaseException:
    """The one exception in a group, or one of several that are alike; otherwise `error` itself.

    Cancellations beside other exceptions are their consequence, and are left out of what is returned.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    found = list(leaves(error))
    if len({(type(leaf), str(leaf)) for leaf in found}) == 1:
        return found[0]
    cancelled, rest = error.split(trio.Cancelled)
    if rest is None:
        return error.exceptions[0]
    return error if cancelled is None else rest
