"""A pool of children: calls are answered, a cancelled one never keeps a child busy, and nothing is left of any."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio

from lakehouse.process.calls import pooled_child
from lakehouse.process.calls.pool import ChildPool, open_pool
from lakehouse.process.calls.pool_policy import PoolPolicy
from lakehouse.process.child import Child, open_child
from lakehouse.process.errors import CallFailed, ChildExited, PoolUnavailable
from lakehouse.process.spec import RestartPolicy
from tools.kit.child_processes import assert_nothing_left, child_spec, is_alive, processor_seconds, wait_until
from tools.kit.matrices import spread

ALONE = pytest.mark.alone  # measures the time to the end of a child, or its processor time


@asynccontextmanager
async def pool_of(size: int = 1, **options: Any) -> AsyncIterator[ChildPool]:
    """A pool of `targets.answers`, after which nothing may be left."""
    with assert_nothing_left():
        async with open_pool(child_spec("answers"), PoolPolicy(size=size, **options)) as pool:
            yield pool


async def pid_of(pool: ChildPool) -> int:
    return int(await pool.call(b"pid"))


async def counts(pool: ChildPool, *, idle: int, in_use: int = 0, waiting: int = 0) -> None:
    """Wait until the pool is so."""
    await wait_until(lambda: (pool.idle, pool.in_use, pool.waiting) == (idle, in_use, waiting))


async def test_calls_and_streams_are_answered_by_the_same_child() -> None:
    async with pool_of() as pool:
        assert pool.size == 0
        assert await pool.call(b"echo " + bytes(3_000_000)) == bytes(3_000_000)
        async with pool.stream(b"count 1000") as reply:
            with pytest.raises(RuntimeError, match="after its items"):
                _ = reply.result
            assert [int(item) async for item in reply] == list(range(1000))
            assert reply.result == b"counted"
        assert await pool.call(b"echo") == b""
        assert (pool.size, pool.idle, pool.in_use, pool.started) == (1, 1, 0, 1)


async def numbers(stop: int, given: list[int]) -> AsyncGenerator[bytes]:
    """Inputs of a call, and in `given` those that were asked for."""
    for number in range(stop):
        given.append(number)
        await trio.lowlevel.checkpoint()
        yield b"%d" % number


async def test_a_call_gets_the_further_input_that_it_asks_for() -> None:
    async with pool_of() as pool:
        given: list[int] = []
        async with aclosing(numbers(3, given)) as inputs, pool.stream(b"double", inputs) as reply:
            assert [item async for item in reply] == [b"00", b"11", b"22"]
            assert reply.result == b"doubled"
        assert given == [0, 1, 2]
        async with pool.stream(b"double") as reply:
            assert [item async for item in reply] == []


async def test_input_that_nobody_reads_on_for_is_not_taken() -> None:
    async with pool_of() as pool:
        given: list[int] = []
        async with aclosing(numbers(1000, given)) as inputs, pool.stream(b"double", inputs) as reply:
            assert await anext(reply) == b"00"
        assert given == [0]
        await counts(pool, idle=1)  # the child stopped its wait for input and takes the next call
        assert await pool.call(b"echo x") == b"x"
        assert pool.started == 1


async def test_an_input_that_fails_ends_the_call() -> None:
    async def fails() -> AsyncGenerator[bytes]:
        yield b"1"
        raise LookupError("no further page")

    async with pool_of() as pool:
        async with aclosing(fails()) as inputs, pool.stream(b"double", inputs) as reply:
            assert await anext(reply) == b"11"
            with pytest.raises(LookupError, match="no further page"):
                await anext(reply)
        assert await pool.call(b"echo x") == b"x"


async def test_a_warmed_pool_has_one_child_for_the_next_call() -> None:
    async with pool_of(2) as pool:
        pool.warm()
        pool.warm()
        assert pool.size == 1
        await counts(pool, idle=1)
        await pid_of(pool)
        pool.warm()
        assert (pool.size, pool.started) == (1, 1)


async def test_a_call_takes_the_child_that_is_being_warmed() -> None:
    async with pool_of(2) as pool:
        pool.warm()
        await pid_of(pool)
        assert (pool.size, pool.started) == (1, 1)


async def test_a_warm_child_that_is_still_starting_ends_with_the_pool() -> None:
    async with pool_of() as pool:
        pool.warm()
        assert pool.size == 1
    pool.warm()
    assert pool.size == 0


async def test_as_many_at_once_as_there_are_children_and_the_rest_in_order() -> None:
    async with pool_of(2, prestart=2) as pool:
        done: list[int] = []

        async def call(number: int) -> None:
            await pool.call(b"sleep 0.02")
            done.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(call, number)
                await trio.lowlevel.checkpoint()
                await trio.sleep(0.002)
        assert sorted(done) == list(range(6))
        assert pool.started == 2


@pytest.mark.parametrize(
    ("request_", "kind", "message", "details"),
    [
        (b"fail", "bad request", "no column x", {"position": 7}),
        (b"raise x", "internal", "KeyError: 'x'", None),
    ],
)
async def test_a_failure_of_the_call_is_the_childs_answer(
    request_: bytes, kind: str, message: str, details: object
) -> None:
    async with pool_of() as pool:
        pid = await pid_of(pool)
        with pytest.raises(CallFailed, match=message) as caught:
            await pool.call(request_)
        assert (caught.value.kind, msgspec.json.decode(caught.value.details)) == (kind, details)
        assert await pid_of(pool) == pid


async def test_a_child_without_memory_is_replaced() -> None:
    async with pool_of() as pool:
        pid = await pid_of(pool)
        with pytest.raises(CallFailed, match="no memory"):
            await pool.call(b"exhausted")
        assert await pid_of(pool) != pid
        assert not is_alive(pid)


@pytest.mark.parametrize(
    ("request_", "sentence"),
    spread(
        [
            (b"exit 3", "the child ended during the call: its process exited with status 3"),
            (b"garbage", "the child was killed: the pipe has b'this is no frame"),
            # Killed, or gone before the signal: the child also exits when the parent closes its input.
            (
                b"close",
                (
                    "the child ended during the call: its process was killed by signal 9",
                    "the child ended during the call: its process exited with status 0",
                ),
            ),
            (b"bytes 2000000", "the child was killed: a frame of 2000000 bytes is larger than the 1000000"),
        ],
        2,
    ),
)
async def test_a_child_that_ends_during_a_call_is_named_and_replaced(
    request_: bytes, sentence: str | tuple[str, ...]
) -> None:
    async with pool_of(max_frame=1_000_000) as pool:
        pid = await pid_of(pool)
        with pytest.raises(ChildExited) as caught:
            await pool.call(request_)
        assert str(caught.value).startswith(sentence)
        assert await pid_of(pool) != pid
        with pytest.raises(ValueError, match="a request of 1000005 bytes is larger"):
            await pool.call(b"echo " + bytes(1_000_000))
        assert await pool.call(b"echo there") == b"there"


async def test_a_killed_child_fails_its_own_call_alone() -> None:
    async with pool_of(2, prestart=2) as pool:
        async with pool.stream(b"wait") as reply, pool.stream(b"count 3") as other:
            os.kill(reply._connection.child.pid, signal.SIGKILL)
            with pytest.raises(ChildExited, match="was killed by signal 9"):
                await anext(reply)
            assert [item async for item in other] == [b"0", b"1", b"2"]
        await wait_until(lambda: pool.started == 3)  # it was kept at two


async def test_an_idle_child_that_exited_fails_no_call() -> None:
    async with pool_of() as pool:
        for _ in range(5):
            os.kill(pid := await pid_of(pool), signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - the pool must not see the end
            assert await pool.call(b"echo there") == b"there"


async def test_a_cancelled_call_that_can_be_interrupted_leaves_its_child_for_the_next() -> None:
    async with pool_of(reset_timeout=5) as pool:
        pid = await pid_of(pool)
        for _ in range(5):
            with trio.move_on_after(0.02) as scope:
                await pool.call(b"wait")
            assert scope.cancelled_caught
            assert await pid_of(pool) == pid
        async with pool.stream(b"flood") as reply:
            assert len(await anext(reply)) == 100_000
        assert await pid_of(pool) == pid
        assert pool.started == 1


@ALONE
@pytest.mark.parametrize("reset_timeout", [0, 0.05])
async def test_a_cancelled_call_that_cannot_be_interrupted_is_killed_within_a_tenth_of_a_second(
    reset_timeout: float,
) -> None:
    async with pool_of(reset_timeout=reset_timeout) as pool:
        pid = await pid_of(pool)
        with trio.move_on_after(0.1):
            await pool.call(b"spin")
        left = trio.current_time()
        await wait_until(lambda: not is_alive(pid), seconds=2)
        assert trio.current_time() - left < reset_timeout + 0.5  # a tenth on an idle machine
        used = processor_seconds(pid)
        assert await pid_of(pool) != pid
        assert processor_seconds(pid) in (0.0, used)


async def test_a_child_that_stops_while_it_is_killed_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last frame of the cancelled call arrives, and the child is killed at the same moment."""

    async def kill_at_the_end(child: Child, timeout: float, max_timeout: float) -> None:
        try:
            await trio.sleep_forever()
        finally:
            child.kill()

    monkeypatch.setattr(pooled_child, "_kill_if_busy", kill_at_the_end)
    async with pool_of(reset_timeout=5) as pool:
        for _ in range(5):
            pid = await pid_of(pool)
            async with pool.stream(b"flood") as reply:
                await anext(reply)
            assert await pid_of(pool) != pid


@ALONE
async def test_a_caller_does_not_wait_for_the_reset() -> None:
    async with pool_of(2, prestart=2, reset_timeout=0.5) as pool:
        with trio.move_on_after(0.05):
            await pool.call(b"spin")
        began = trio.current_time()
        assert await pool.call(b"echo there") == b"there"  # the other child
        assert trio.current_time() - began < 0.4
        assert pool.in_use == 1
        await counts(pool, idle=2)


async def test_the_queue_is_bounded_in_length_and_time() -> None:
    async with (
        pool_of(1, prestart=1, max_waiting=1, queue_timeout=0.2, reset_timeout=5) as pool,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(pool.call, b"wait")
        await counts(pool, idle=0, in_use=1)

        async def late() -> None:
            with pytest.raises(PoolUnavailable, match=r"all of 1 are busy: none became free within 0\.2 s"):
                await pool.call(b"echo")

        nursery.start_soon(late)
        await counts(pool, idle=0, in_use=1, waiting=1)
        with pytest.raises(PoolUnavailable, match="all of 1 are busy: 1 calls wait already") as caught:
            await pool.call(b"echo")
        assert caught.value.retry_after > 0
        await counts(pool, idle=0, in_use=1)
        nursery.cancel_scope.cancel()


async def test_a_call_waits_for_the_child_that_is_started_for_it() -> None:
    """An interpreter takes longer to start than the call may wait for one that is busy."""
    async with pool_of(1, queue_timeout=0.001) as pool:
        assert await pool.call(b"echo there") == b"there"
        await counts(pool, idle=1)


async def test_a_pool_without_a_queue_takes_as_many_calls_as_it_may_have_children() -> None:
    async with pool_of(2, max_waiting=0, reset_timeout=5) as pool, trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(pool.call, b"wait")
        await counts(pool, idle=0, in_use=2)
        with pytest.raises(PoolUnavailable, match="0 calls wait already"):
            await pool.call(b"echo")
        nursery.cancel_scope.cancel()


@ALONE
async def test_children_that_end_without_a_call_are_started_again_with_a_delay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    policy = PoolPolicy(size=1, prestart=1, restart=RestartPolicy(initial_delay=0.05, max_delay=0.4))
    with assert_nothing_left():
        async with open_pool(child_spec("dies_when_ready"), policy) as pool:
            await wait_until(lambda: len(caplog.messages) == 3)
            assert pool.started >= 3
    delays = [float(message.split()[-5]) for message in caplog.messages]
    assert delays == [0.05, 0.1, 0.2]
    assert caplog.messages[0].startswith("the child ended before its first call: its process exited with status 7; ")


@ALONE
async def test_children_that_do_not_start_fail_the_calls_that_wait_and_are_tried_again_later() -> None:
    policy = PoolPolicy(size=2, restart=RestartPolicy(initial_delay=0.2))
    attempts = 0

    def start(spec: Any) -> Any:
        nonlocal attempts
        attempts += 1
        return open_child(spec if attempts > 1 else child_spec("crash"))

    with assert_nothing_left():
        async with open_pool(child_spec("answers"), policy, start=start) as pool:
            for _ in range(2):  # the second is answered from what the first has shown
                with pytest.raises(PoolUnavailable, match="cannot open the thing"):
                    await pool.call(b"echo")
            assert attempts == 1
            await trio.sleep(0.25)
            assert await pool.call(b"echo there") == b"there"


@pytest.mark.parametrize("cancel_after", [0, 0.001, 0.01, 0.03, 0.06, 0.1, 0.2])
async def test_a_cancelled_opening_leaves_no_child(cancel_after: float) -> None:
    with assert_nothing_left(), trio.move_on_after(cancel_after):
        async with (
            open_pool(child_spec("answers"), PoolPolicy(size=3, prestart=3)) as pool,
            trio.open_nursery() as nursery,
        ):
            for _ in range(5):
                nursery.start_soon(pool.call, b"wait")


async def test_a_pool_whose_children_do_not_start_raises_when_opened() -> None:
    with assert_nothing_left(), pytest.raises(PoolUnavailable, match="the disk is full"):
        async with open_pool(child_spec("refuse"), PoolPolicy(size=1, prestart=1)):
            pytest.fail("it started")


async def test_a_restriction_that_is_not_in_force_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    policy = PoolPolicy(size=2, prestart=2, max_calls=1)
    with assert_nothing_left():
        async with open_pool(child_spec("unprotected"), policy) as pool:
            for _ in range(3):
                assert await pool.call(b"echo there") == b"there"
            await wait_until(lambda: pool.started >= 4)
            assert pool.sandbox is not None
            assert pool.sandbox.files == "not enforced: no Landlock"
    assert caplog.messages == ["the child: the sandbox's restriction of files is not enforced: no Landlock"]


async def test_a_child_is_replaced_after_so_many_calls() -> None:
    async with pool_of(max_calls=2) as pool:
        pids = [await pid_of(pool) for _ in range(6)]
        assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4] == pids[5]


async def test_a_closed_pool_takes_no_calls_and_ends_those_under_way() -> None:
    ended: list[str] = []

    async def call(pool: ChildPool, request: bytes) -> None:
        try:
            await pool.call(request)
        except (ChildExited, PoolUnavailable) as error:
            ended.append(type(error).__name__)

    async with trio.open_nursery() as nursery:
        with assert_nothing_left():
            async with open_pool(child_spec("answers"), PoolPolicy(size=1, prestart=1)) as pool:
                nursery.start_soon(call, pool, b"wait")
                await counts(pool, idle=0, in_use=1)
                nursery.start_soon(call, pool, b"echo")
                await counts(pool, idle=0, in_use=1, waiting=1)
            await wait_until(lambda: len(ended) == 2)
    assert sorted(ended) == ["ChildExited", "PoolUnavailable"]
    with pytest.raises(PoolUnavailable, match="the pool is closed"):
        await pool.call(b"echo")


class CancelAt(trio.abc.Instrument):
    """Cancels a scope when its task has been scheduled for the nth time."""

    def __init__(self, scope: trio.CancelScope, task: trio.lowlevel.Task, step: int) -> None:
        self.scope, self.task, self.left = scope, task, step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


@pytest.mark.parametrize("request_", spread([b"echo x", b"count 40", b"echo " + bytes(400_000), b"wait"], 2))
async def test_a_pool_serves_after_a_cancellation_at_any_step(request_: bytes) -> None:
    """The call is cancelled at its first scheduler step, at its second, and so on until it ends by itself."""
    async with pool_of(2, prestart=1) as pool:
        for step in range(1, 60):
            with trio.CancelScope() as scope:
                instrument = CancelAt(scope, trio.lowlevel.current_task(), step)
                trio.lowlevel.add_instrument(instrument)
                try:
                    with trio.move_on_after(0.05 if request_ == b"wait" else 20):
                        async with pool.stream(request_) as reply:
                            async for _ in reply:
                                pass
                finally:
                    trio.lowlevel.remove_instrument(instrument)
            if not scope.cancelled_caught:
                break
            assert await pool.call(b"echo there") == b"there"
        await wait_until(lambda: pool.in_use == 0 and pool.waiting == 0 and pool.idle >= 1)


async def test_many_callers_that_come_and_go_lose_no_child() -> None:
    async with pool_of(2, prestart=2) as pool:
        answered = 0

        async def caller(number: int) -> None:
            nonlocal answered
            with trio.move_on_after((number % 7) * 0.004):
                assert await pool.call(b"echo %d" % number) == b"%d" % number
                answered += 1

        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(caller, number)
        await wait_until(lambda: pool.in_use == 0 and pool.waiting == 0)
        assert await pool.call(b"echo there") == b"there"
        assert answered <= 60


@pytest.mark.parametrize("options", [{"size": 0}, {"size": 1, "prestart": 2}, {"size": 1, "max_waiting": -1}])
def test_an_inconsistent_policy_raises(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a pool has at least one child"):
        PoolPolicy(**options)
