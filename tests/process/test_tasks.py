"""A nursery of background tasks: what it raises."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from lakehouse.process.tasks import open_background


async def test_an_error_is_raised_alone() -> None:
    with pytest.raises(LookupError):
        async with open_background() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise LookupError


async def test_an_error_beside_a_cancellation_is_raised_alone() -> None:
    """A block that raises while somebody else cancels its tasks: the caller can handle the error."""
    with trio.CancelScope() as scope:
        with pytest.raises(LookupError):
            async with open_background() as nursery:
                nursery.start_soon(trio.sleep_forever)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
                raise LookupError
        assert scope.cancel_called


async def test_a_cancellation_alone_stays_one() -> None:
    with trio.CancelScope() as scope:
        async with open_background() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_several_errors_are_a_group() -> None:
    async def fail() -> None:
        raise KeyError

    with pytest.raises(ExceptionGroup) as caught:
        async with open_background() as nursery:
            nursery.start_soon(fail)
            raise LookupError
    assert {type(error) for error in caught.value.exceptions} == {KeyError, LookupError}
