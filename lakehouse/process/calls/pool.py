"""A pool of children that answer calls: a bounded queue in front, and a cancelled call never keeps a child busy.

    async with open_pool(spec, PoolPolicy(size=2)) as pool:
        answer = await pool.call(request)
        async with pool.stream(request) as reply:
            async for item in reply: ...

A call that is cancelled, or left before its end, is cancelled in the child as well: the child has `reset_timeout`
seconds to stop it, then it is killed and another one takes its place. The caller does not wait for either.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from math import inf

import trio

from lakehouse.process.calls.frames import MAX_FRAME
from lakehouse.process.calls.pooled_child import PooledChild
from lakehouse.process.calls.rpc import Reply
from lakehouse.process.child import Child, open_child
from lakehouse.process.errors import ChildStartFailed, PoolUnavailable
from lakehouse.process.spec import ChildSpec, RestartPolicy, SandboxReport
from lakehouse.process.states import PooledChildState
from lakehouse.process.supervision.backoff import Backoff
from lakehouse.process.tasks import open_background

logger = logging.getLogger("lakehouse.process")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPolicy:
    """How large a pool is and how long things may take, in seconds.

    At most `size` children; `prestart` of them are kept running, the others start when they are needed. At most
    `max_waiting` calls wait for a child, each for at most `queue_timeout`. With `reset_timeout` 0 a cancelled call
    kills its child at once. A child is replaced after `max_calls` calls; 0 for never. `max_frame` bounds a request, an
    item and a result, in bytes.
    """

    size: int
    prestart: int = 0
    max_waiting: int = 64
    queue_timeout: float = 10.0
    reset_timeout: float = 0.05
    max_calls: int = 0
    max_frame: int = MAX_FRAME
    restart: RestartPolicy = RestartPolicy()

    def __post_init__(self) -> None:
        if not 0 <= self.prestart <= self.size or self.size < 1 or self.max_waiting < 0:
            raise ValueError("a pool has at least one child, prestart is at most size, and max_waiting is not negative")


class _Waiter:
    """A call in the queue: woken with a member, or with the reason why there is none."""

    def __init__(self) -> None:
        self.woken = trio.Event()
        self.member: PooledChild | None = None
        self.failure: PoolUnavailable | None = None


class ChildPool:
    """See `open_pool`. The counts are for metrics."""

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
        """Children that became ready since the pool was opened."""
        self.sandbox: SandboxReport | None = None
        """What the last child's sandbox is; None before the first one is ready."""
        self._spec = spec
        self._nursery = nursery
        self._open_child = start
        self._children: set[PooledChild] = set()
        self._idle: list[PooledChild] = []  # used last in, first out: a child that is warm
        self._queue: deque[_Waiter] = deque()
        self._backoff = Backoff(policy.restart)
        self._blocked_until = -inf
        self._closed = False
        self._last_failure = ""

    @property
    def size(self) -> int:
        """Children that run or start."""
        return len(self._children)

    @property
    def in_use(self) -> int:
        """Children that a call has, cancelled calls that have not stopped yet included."""
        return sum(member.state in (PooledChildState.BUSY, PooledChildState.RESETTING) for member in self._children)

    @property
    def idle(self) -> int:
        """Children that wait for a call."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._queue)

    async def call(self, request: bytes) -> bytes:
        """The result of a request, without its items. Raises what `stream` does, and CallFailed."""
        async with self.stream(request) as reply:
            async for _ in reply:
                pass
        return reply.result

    @asynccontextmanager
    async def stream(self, request: bytes) -> AsyncIterator[Reply]:
        """Send a request; the reply's items are there as they arrive, and its `result` afterwards.

        Raises PoolUnavailable (the queue is full or took too long, or no child starts), ChildExited when the child
        ends during the call, ValueError for a request over `max_frame`; the reply raises CallFailed. Whatever ends the
        block, a cancellation at any point included, the child is idle, reset or killed afterwards, without a wait here.
        """
        member = await self._acquire(self.policy.queue_timeout)
        try:
            await trio.lowlevel.checkpoint_if_cancelled()  # nothing was sent yet, so the child would stay as it is
            reply = member.begin_call()
            await reply.send(request)
            yield reply
        finally:
            self._release(member)

    async def prestart(self) -> None:
        """Start the policy's first children and wait for one. Raises PoolUnavailable if none starts."""
        self._replenish()
        if self.policy.prestart:
            self._release(await self._acquire(inf))

    async def _acquire(self, timeout: float) -> PooledChild:
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._idle:
            member = self._idle.pop()
            if member.usable:
                member.acquire()
                return member
            member.end()
        self._check_admission()
        waiter = _Waiter()
        self._queue.append(waiter)
        self._replenish()
        try:
            with trio.move_on_after(timeout):
                await waiter.woken.wait()
        except BaseException:
            self._leave_queue(waiter)
            raise
        if waiter.member is not None:
            return waiter.member
        self._leave_queue(waiter)
        raise waiter.failure or self._busy_error(f"none became free within {timeout:g} s")

    def _check_admission(self) -> None:
        if self._closed:
            raise PoolUnavailable(f"{self.name}: the pool is closed", retry_after=1.0)
        free = self.policy.size - self.in_use  # for so many calls a child is being started: they do not wait for a call
        if len(self._queue) >= self.policy.max_waiting + free:
            raise self._busy_error(f"{len(self._queue)} calls wait already")
        remaining = self._blocked_until - trio.current_time()
        if not self._children and remaining > 0:
            raise PoolUnavailable(self._last_failure, retry_after=remaining)

    def _busy_error(self, why: str) -> PoolUnavailable:
        return PoolUnavailable(f"{self.name}: all of {self.policy.size} are busy: {why}", retry_after=1.0)

    def _leave_queue(self, waiter: _Waiter) -> None:
        """A call left the queue: what it was given meanwhile goes to the next one."""
        if waiter.member is not None:
            self._release(waiter.member)
        elif waiter in self._queue:
            self._queue.remove(waiter)

    def _release(self, member: PooledChild) -> None:
        if not member.release(resettable=self.policy.reset_timeout > 0):
            return
        if member.calls:
            self._backoff.reset()  # a child that has answered is proof that children can
        if self.policy.max_calls and member.calls >= self.policy.max_calls:
            member.end()
        else:
            self._assign(member)

    def _assign(self, member: PooledChild) -> None:
        """An idle member goes to the call that has waited longest, or waits itself."""
        if self._queue:
            waiter = self._queue.popleft()
            member.acquire()
            waiter.member = member
            waiter.woken.set()
        else:
            self._idle.append(member)

    def _replenish(self) -> None:
        """Start children: for the calls that wait, and those that are always to be there."""
        if self._closed or trio.current_time() < self._blocked_until:
            return
        alive = [member for member in self._children if member.state is not PooledChildState.ENDED]
        starting = sum(member.state is PooledChildState.STARTING for member in alive)
        wanted = max(len(self._queue) - starting, self.policy.prestart - len(alive))
        for _ in range(min(wanted, self.policy.size - len(self._children))):
            member = PooledChild()
            self._children.add(member)
            self._nursery.start_soon(self._run, member)

    async def _run(self, member: PooledChild) -> None:
        """The task of one member: it ends with the member's child, and sees to a successor."""
        problem = ""
        try:
            async with self._open_child(self._spec) as child:
                self._record_sandbox((await child.wait_ready()).sandbox)
                self.started += 1
                self._blocked_until = -inf
                member.set_ready(child, max_frame=self.policy.max_frame)
                self._assign(member)
                await self._reset_until_exit(member, child)
                if member.state is PooledChildState.IDLE and not member.calls:
                    problem = f"{self.name} is gone before its first call: its process {await child.describe_exit()}"
        except ChildStartFailed as failure:
            problem = str(failure)
        except OSError as error:  # too many processes or files
            problem = f"{self.name} did not start: no process can be started: {error}"
        finally:
            member.end()
            self._children.discard(member)
            if member in self._idle:
                self._idle.remove(member)
        if problem:
            await trio.sleep(self._record_start_failure(problem))
        self._replenish()

    async def _reset_until_exit(self, member: PooledChild, child: Child) -> None:
        """Until the child has ended; cancelled calls are ended in it meanwhile."""

        async def reset() -> None:
            while await member.wait_reset(self.policy.reset_timeout):
                self._assign(member)
            member.end()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reset)
            await child.wait_exit()
            nursery.cancel_scope.cancel()

    def _record_sandbox(self, report: SandboxReport) -> None:
        """Say once what of the sandbox is not in force."""
        if self.sandbox != report:
            self.sandbox = report
            for what, outcome in (("files", report.files), ("network", report.network)):
                if outcome.startswith("not enforced"):
                    logger.warning("%s: the sandbox's restriction of %s is %s", self.name, what, outcome)

    def _record_start_failure(self, reason: str) -> float:
        """A child is of no use. The calls that wait fail, unless another child may serve them. Returns the delay."""
        delay = self._backoff.delay_after(None)
        self._last_failure = reason
        self._blocked_until = trio.current_time() + delay
        logger.error("%s; the next attempt is made in %g s at the earliest", reason, delay)
        if all(member.state is PooledChildState.ENDED for member in self._children):
            self._fail_waiting(reason, delay)
        return delay

    def _fail_waiting(self, reason: str, retry_after: float) -> None:
        while self._queue:
            waiter = self._queue.popleft()
            waiter.failure = PoolUnavailable(reason, retry_after=retry_after)
            waiter.woken.set()

    def close(self) -> None:
        """Take no further calls; those that wait fail."""
        self._closed = True
        self._fail_waiting(f"{self.name}: the pool is closed", 1.0)


@asynccontextmanager
async def open_pool(
    spec: ChildSpec,
    policy: PoolPolicy,
    *,
    start: Callable[[ChildSpec], AbstractAsyncContextManager[Child]] = open_child,
) -> AsyncIterator[ChildPool]:
    """A pool of children of one specification; with the block every one of them is killed and reaped.

    Raises PoolUnavailable if none of the children that the policy wants from the beginning starts.
    """
    async with open_background() as nursery:
        pool = ChildPool(spec, policy, nursery, start)
        try:
            await pool.prestart()
            yield pool
        finally:
            pool.close()
