"""What counts as too slow: the account of one side's waiting, in virtual time."""

from __future__ import annotations

import socket
from math import inf

import pytest
import trio
import trio.testing

from lakehouse.net.transfer_rate import ALLOWED_LAG_LIMITS, MIN_BYTES, MinimumRate, unacknowledged_bytes

T = 10.0

# (seconds waited, bytes that moved then), over and over, and after how many limits that is enough; None: never
PATIENCE = {
    "nothing at all": ([(T, 0)], 1),
    "a byte just before the limit": ([(0.9 * T, 1)], ALLOWED_LAG_LIMITS),
    "a byte often": ([(0.1 * T, 1)], ALLOWED_LAG_LIMITS),
    "a quarter of the rate": ([(0.5 * T, MIN_BYTES // 8)], ALLOWED_LAG_LIMITS / 0.75),
    "half of the rate": ([(0.5 * T, MIN_BYTES // 4)], ALLOWED_LAG_LIMITS * 2),
    "the rate": ([(0.5 * T, MIN_BYTES // 2)], None),
    "the rate in one piece": ([(0.99 * T, MIN_BYTES)], None),
    "much at a time": ([(0.9 * T, 1_000_000)], None),
    "pauses that are made up for": ([(0.9 * T, 1)] * 3 + [(0.1, 4 * MIN_BYTES)], None),
    "one pause too many": ([(0.9 * T, 1)] * 5 + [(0.1, 4 * MIN_BYTES)], ALLOWED_LAG_LIMITS),
    "nobody waits": ([(0.0, 1)], None),
}


@pytest.mark.parametrize(("steps", "limits"), PATIENCE.values(), ids=PATIENCE)
async def test_when_it_is_enough(
    steps: list[tuple[float, int]], limits: float | None, autojump_clock: trio.testing.MockClock
) -> None:
    rate, began = MinimumRate(T), trio.current_time()
    rate.start_waiting()
    for n in range(1000):
        seconds, size = steps[n % len(steps)]
        left = rate.left
        await trio.sleep(min(seconds, left))
        rate.record_progress(size if seconds < left else 0)
        if rate.exhausted:
            break
    assert rate.exhausted is (limits is not None)
    if limits is not None:
        assert (trio.current_time() - began) / T == pytest.approx(limits, rel=0.1)


async def test_time_in_which_nobody_waits_does_not_count(autojump_clock: trio.testing.MockClock) -> None:
    rate = MinimumRate(T)
    for _ in range(100):
        await trio.sleep(100 * T)
        rate.start_waiting()
        rate.record_progress(1)
    assert rate.left == T


async def test_without_a_limit_nothing_is_enough(autojump_clock: trio.testing.MockClock) -> None:
    rate = MinimumRate(inf)
    rate.start_waiting()
    await trio.sleep(10_000)
    rate.record_progress(0)
    rate.check_progress(lambda: 5)
    assert (rate.left, rate.step, rate.exhausted) == (inf, inf, False)


async def test_what_the_kernel_still_holds_tells_of_progress(autojump_clock: trio.testing.MockClock) -> None:
    rate = MinimumRate(T)
    rate.start_waiting()
    for n in range(1, 20):  # less and less of it, although nothing more is accepted
        await trio.sleep(rate.step)
        rate.check_progress(lambda n=n: 1_000_000 - n * MIN_BYTES)  # type: ignore[misc]
        assert not rate.exhausted
    began = trio.current_time()
    while not rate.exhausted:
        await trio.sleep(rate.step)
        rate.check_progress(lambda: 1)
    assert trio.current_time() - began == pytest.approx(T, rel=0.3)
    assert rate.shortfall == "nothing more"


def test_the_kernel_says_what_the_other_side_has_not_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as ours, listener.accept()[0] as theirs:
            assert unacknowledged_bytes(ours.fileno()) == 0
            ours.setblocking(False)
            sent = 0
            try:
                while True:
                    sent += ours.send(bytes(65536))
            except BlockingIOError:
                pass
            assert 0 < unacknowledged_bytes(ours.fileno()) < sent
            while sent:
                sent -= len(theirs.recv(65536))
            assert unacknowledged_bytes(ours.fileno()) == 0
    assert unacknowledged_bytes(-1) == 0
