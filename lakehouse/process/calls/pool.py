"""A pool of children that answer calls, with a bounded queue of waiting calls.

    async with open_pool(spec, PoolPolicy(size=2)) as pool:
        answer = await pool.call(request)
        async with pool.stream(request) as reply:
            async for item in reply: ...

A call that is cancelled, or whose block ends early, is cancelled in the child as well. The child has `reset_timeout`
seconds to stop the call; then the child is killed and replaced. The caller does not wait for the reset.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from math import inf

import trio

from lakehouse.process.calls.pool_policy import PoolPolicy
from lakehouse.process.calls.pooled_child import PooledChild
from lakehouse.process.calls.rpc import Reply
from lakehouse.process.child import Child, open_child
from lakehouse.process.errors import ChildStartFailed, PoolUnavailable
from lakehouse.process.spec import ChildSpec, SandboxReport
from lakehouse.process.states import PooledChildState
from lakehouse.process.supervision.backoff import Backoff
from lakehouse.process.tasks import open_background

logger = logging.getLogger("lakehouse.process")


class _Waiter:
    """A call in the queue. It is woken with a child, or with an error."""

    def __init__(self) -> None:
        self.woken = trio.Event()
        self.pooled: PooledChild | None = None
        self.failure: PoolUnavailable | None = None


class ChildPool:
    """A pool, as `open_pool` opens it. `started`, `size`, `in_use`, `idle` and `waiting` are for metrics."""

    def __init__(
        self,
        spec: ChildSpec,
        policy: PoolPolicy,
        nursery: trio.Nursery,
        start: Callable[[ChildSpec], AbstractAsyncContextManager[Child]],
    ) -> None:
        self.name = spec.name
        self.policy = policy
        self.started = 0
        """The number of children that became ready since the pool was opened."""
        self.sandbox: SandboxReport | None = None
        """The sandbox report of the child that became ready last; None before the first one is ready."""
        self._spec = spec
        self._nursery = nursery
        self._open_child = start
        self._children: set[PooledChild] = set()
        self._idle: list[PooledChild] = []  # last in, first out: the child with the warmest caches first
        self._queue: deque[_Waiter] = deque()
        self._backoff = Backoff(policy.restart)
        self._blocked_until = -inf
        self._closed = False
        self._last_failure = ""

    @property
    def size(self) -> int:
        """The number of children that are running or starting."""
        return len(self._children)

    @property
    def in_use(self) -> int:
        """The number of children that are assigned to a call or being reset."""
        return sum(pooled.state in (PooledChildState.BUSY, PooledChildState.RESETTING) for pooled in self._children)

    @property
    def idle(self) -> int:
        """The number of idle children."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """The number of calls in the queue."""
        return len(self._queue)

    async def call(self, request: bytes) -> bytes:
        """Send a request and return its result; items are discarded. Raises the errors of `stream`, and CallFailed."""
        async with self.stream(request) as reply:
            async for _ in reply:
                pass
        return reply.result

    @asynccontextmanager
    async def stream(self, request: bytes, inputs: AsyncIterator[bytes] | None = None) -> AsyncIterator[Reply]:
        """Send a request; the reply yields items as they arrive, and has a `result` after the last one.

        `inputs` are what the child may request while the call runs, each at most `max_frame` bytes.
        Raises PoolUnavailable (the queue is full, the wait took too long, or no child starts), ChildExited if the child
        ends during the call, ValueError for a request larger than `max_frame`; the reply raises CallFailed. At the end
        of the block, also by cancellation, the child becomes idle, or is reset or killed in the background.
        """
        pooled = await self._acquire(self.policy.queue_timeout)
        try:
            await trio.lowlevel.checkpoint_if_cancelled()  # nothing is sent yet: the child needs no reset
            reply = pooled.begin_call(inputs)
            await reply.send(request)
            yield reply
        finally:
            self._release(pooled)

    async def prestart(self) -> None:
        """Start the `prestart` children and wait for one to be ready. Raises PoolUnavailable if none starts."""
        self._replenish()
        if self.policy.prestart:
            self._release(await self._acquire(inf))

    def warm(self) -> None:
        """Start a child in the background if there is none, for a call that is expected soon.

        A failed start is recorded as it is for a call. The child ends with the pool.
        """
        if not self._children:
            self._start(1)

    async def _acquire(self, timeout: float) -> PooledChild:
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._idle:
            pooled = self._idle.pop()
            if pooled.usable:
                pooled.acquire()
                return pooled
            pooled.end()
        self._check_admission()
        waiter = _Waiter()
        self._queue.append(waiter)
        self._replenish()
        try:
            with trio.move_on_after(timeout):
                await waiter.woken.wait()
            if self._starts_child_for(waiter):
                with trio.move_on_after(self._spec.start_timeout):
                    await waiter.woken.wait()
        except BaseException:
            self._leave_queue(waiter)
            raise
        if waiter.pooled is not None:
            return waiter.pooled
        self._leave_queue(waiter)
        raise waiter.failure or self._busy_error(f"none became free within {timeout:g} s")

    def _starts_child_for(self, waiter: _Waiter) -> bool:
        """Whether one of the children that start now is this call's, unless another one becomes free before."""
        return waiter in self._queue and self._queue.index(waiter) < self._count_starting()

    def _count_starting(self) -> int:
        return sum(pooled.state is PooledChildState.STARTING for pooled in self._children)

    def _check_admission(self) -> None:
        if self._closed:
            raise PoolUnavailable(f"{self.name}: the pool is closed", retry_after=1.0)
        free = self.policy.size - self.in_use  # calls for which a child is being started do not count as waiting
        if len(self._queue) >= self.policy.max_waiting + free:
            raise self._busy_error(f"{len(self._queue)} calls wait already")
        remaining = self._blocked_until - trio.current_time()
        if not self._children and remaining > 0:
            raise PoolUnavailable(self._last_failure, retry_after=remaining)

    def _busy_error(self, reason: str) -> PoolUnavailable:
        return PoolUnavailable(f"{self.name}: all of {self.policy.size} are busy: {reason}", retry_after=1.0)

    def _leave_queue(self, waiter: _Waiter) -> None:
        """Remove a call from the queue; a child that was assigned to it meanwhile goes to the next call."""
        if waiter.pooled is not None:
            self._release(waiter.pooled)
        elif waiter in self._queue:
            self._queue.remove(waiter)

    def _release(self, pooled: PooledChild) -> None:
        if not pooled.release(resettable=self.policy.reset_timeout > 0):
            return
        if pooled.calls:
            self._backoff.reset()  # a child that has answered a call is a successful start
        if self.policy.max_calls and pooled.calls >= self.policy.max_calls:
            pooled.end()
        else:
            self._assign(pooled)

    def _assign(self, pooled: PooledChild) -> None:
        """Assign an idle child to the call that has waited longest, or keep it idle."""
        if self._queue:
            waiter = self._queue.popleft()
            pooled.acquire()
            waiter.pooled = pooled
            waiter.woken.set()
        else:
            self._idle.append(pooled)

    def _replenish(self) -> None:
        """Start children for the waiting calls, and up to `prestart` children."""
        alive = sum(pooled.state is not PooledChildState.ENDED for pooled in self._children)
        self._start(max(len(self._queue) - self._count_starting(), self.policy.prestart - alive))

    def _start(self, wanted: int) -> None:
        """Start as many children as the size permits, unless the pool is closed or waits after a failed start."""
        if self._closed or trio.current_time() < self._blocked_until:
            return
        for _ in range(min(wanted, self.policy.size - len(self._children))):
            pooled = PooledChild()
            self._children.add(pooled)
            self._nursery.start_soon(self._run, pooled)

    async def _run(self, pooled: PooledChild) -> None:
        """Run one child from start to exit, then start successors where needed."""
        problem = ""
        try:
            async with self._open_child(self._spec) as child:
                self._record_sandbox((await child.wait_ready()).sandbox)
                self.started += 1
                self._blocked_until = -inf
                pooled.set_ready(child, max_frame=self.policy.max_frame)
                self._assign(pooled)
                await self._reset_until_exit(pooled, child)
                if pooled.state is PooledChildState.IDLE and not pooled.calls:
                    problem = f"{self.name} ended before its first call: its process {await child.describe_exit()}"
        except ChildStartFailed as failure:
            problem = str(failure)
        except OSError as error:  # too many processes or open files
            problem = f"{self.name} did not start: no process can be started: {error}"
        finally:
            pooled.end()
            self._children.discard(pooled)
            if pooled in self._idle:
                self._idle.remove(pooled)
        if problem:
            await trio.sleep(self._record_start_failure(problem))
        self._replenish()

    async def _reset_until_exit(self, pooled: PooledChild, child: Child) -> None:
        """Wait for the exit of the child; meanwhile, reset it after each cancelled call."""

        async def reset() -> None:
            while await pooled.wait_reset(self.policy.reset_timeout, self.policy.max_reset_timeout):
                self._assign(pooled)
            pooled.end()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reset)
            await child.wait_exit()
            nursery.cancel_scope.cancel()

    def _record_sandbox(self, report: SandboxReport) -> None:
        """Keep the report, and log each restriction that is not in force, once."""
        if self.sandbox != report:
            self.sandbox = report
            for what, outcome in (("files", report.files), ("network", report.network)):
                if outcome.startswith("not enforced"):
                    logger.warning("%s: the sandbox's restriction of %s is %s", self.name, what, outcome)

    def _record_start_failure(self, reason: str) -> float:
        """Delay the next start; waiting calls fail unless another child can serve them. Returns the delay."""
        delay = self._backoff.delay_after(None)
        self._last_failure = reason
        self._blocked_until = trio.current_time() + delay
        logger.error("%s; the next attempt is made in %g s at the earliest", reason, delay)
        if all(pooled.state is PooledChildState.ENDED for pooled in self._children):
            self._fail_waiting(reason, delay)
        return delay

    def _fail_waiting(self, reason: str, retry_after: float) -> None:
        while self._queue:
            waiter = self._queue.popleft()
            waiter.failure = PoolUnavailable(reason, retry_after=retry_after)
            waiter.woken.set()

    def close(self) -> None:
        """Reject further calls; waiting calls fail."""
        self._closed = True
        self._fail_waiting(f"{self.name}: the pool is closed", 1.0)


@asynccontextmanager
async def open_pool(
    spec: ChildSpec,
    policy: PoolPolicy,
    *,
    start: Callable[[ChildSpec], AbstractAsyncContextManager[Child]] = open_child,
) -> AsyncIterator[ChildPool]:
    """Open a pool of children of one specification. At the end of the block all children are killed and reaped.

    Raises PoolUnavailable if none of the `prestart` children starts.
    """
    async with open_background() as nursery:
        pool = ChildPool(spec, policy, nursery, start)
        try:
            await pool.prestart()
            yield pool
        finally:
            pool.close()
