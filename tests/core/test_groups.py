"""Exceptions that nurseries raised in groups."""

from __future__ import annotations

import pytest
import trio

from lakehouse.core.errors import ErrNotFound, ErrUpstream, LakehouseError
from lakehouse.core.groups import leaves, single_failure, unwrap_single

ONE, OTHER, DEFECT = ErrNotFound("no"), ErrUpstream("no"), ZeroDivisionError("no")


async def cancelled() -> trio.Cancelled:
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as error:
            return error
    raise AssertionError


async def test_a_failure_is_found_where_nothing_but_failures_and_cancellations_are() -> None:
    stop = await cancelled()
    table: list[tuple[BaseException, LakehouseError | None]] = [
        (ONE, ONE),
        (ExceptionGroup("", [ONE]), ONE),
        (ExceptionGroup("", [ExceptionGroup("", [ONE]), OTHER]), ONE),
        (BaseExceptionGroup("", [stop, ONE]), ONE),
        (ExceptionGroup("", [ONE, DEFECT]), None),
        (BaseExceptionGroup("", [ONE, KeyboardInterrupt()]), None),
        (BaseExceptionGroup("", [stop]), None),
        (DEFECT, None),
        (stop, None),
    ]
    for raised, found in table:
        assert single_failure(raised, LakehouseError) is found, raised


async def test_a_kind_narrows_what_counts_as_a_failure() -> None:
    assert single_failure(ExceptionGroup("", [ONE, OTHER]), ErrNotFound) is None
    assert single_failure(ExceptionGroup("", [ONE]), ErrNotFound) is ONE


async def test_the_one_exception_of_a_group_comes_out_of_it() -> None:
    stop = await cancelled()
    assert unwrap_single(ONE) is ONE
    assert unwrap_single(ExceptionGroup("", [ExceptionGroup("", [ONE])])) is ONE
    assert unwrap_single(BaseExceptionGroup("", [stop, DEFECT])) is DEFECT
    assert unwrap_single(ExceptionGroup("", [OSError(2, "gone"), same := OSError(2, "gone")])) is not same
    assert isinstance(unwrap_single(ExceptionGroup("", [OSError(2, "gone"), same])), OSError)
    both = ExceptionGroup("", [ONE, DEFECT])
    assert unwrap_single(both) is both
    rest = unwrap_single(BaseExceptionGroup("", [ONE, stop, DEFECT]))
    assert isinstance(rest, ExceptionGroup)
    assert rest.exceptions == (ONE, DEFECT)
    assert unwrap_single(BaseExceptionGroup("", [stop])) is stop


def test_leaves_are_listed_in_their_order() -> None:
    assert list(leaves(ExceptionGroup("", [ONE, ExceptionGroup("", [OTHER, DEFECT])]))) == [ONE, OTHER, DEFECT]


async def test_a_nursery_of_failures_is_told_as_the_first() -> None:
    async def fail() -> None:
        raise ONE

    with pytest.raises(ExceptionGroup) as raised:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
    assert single_failure(raised.value, LakehouseError) is ONE
