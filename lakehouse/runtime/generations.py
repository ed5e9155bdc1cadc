"""The generations of a service: the present one, and those before it that still have requests.

    prepare ──> a generation is open beside the present one, without requests
    commit ───> new requests get it, in one step without a checkpoint; requests in flight stay where they are
                the former generation ends with its last request: its pools are closed

A generation without requests ends at once, so there are never more of them than requests in flight, and two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import trio

from lakehouse.asgi.middleware.lifetime_middleware import RequestLifetimeMiddleware, ServedApp
from lakehouse.config import Config, SessionLimitsTable
from lakehouse.core.context import RequestContext
from lakehouse.runtime.generation import Generation, SharedParts, open_generation
from lakehouse.runtime.preflight import Preflight, preflight
from lakehouse.runtime.reload.changes import compare_secrets
from lakehouse.runtime.sessions import WorkerSessions
from lakehouse.upstream.pool import Upstream

if TYPE_CHECKING:
    from lakehouse.runtime.session_guard import SessionGuard


class _Running:
    """A generation that is open. It is closed after `end`, when the applications have had their last request."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self._ended = trio.Event()
        self._apps: Sequence[ServedApp] = ()

    def end(self, apps: Sequence[ServedApp] = ()) -> None:
        self._apps = apps
        self._ended.set()

    async def wait_ended(self) -> None:
        await self._ended.wait()
        for app in self._apps:
            await app.idle.wait()


class Generations:
    """Opens generations in `nursery`, and gives the new requests of `lifetimes`, one for each listener, to the last.

    `in_workers`: this process is one of several workers.
    """

    def __init__(
        self,
        parts: SharedParts,
        nursery: trio.Nursery,
        *,
        lifetimes: Sequence[RequestLifetimeMiddleware],
        sessions: WorkerSessions,
        in_workers: bool,
    ) -> None:
        self._parts = parts
        self._nursery = nursery
        self._lifetimes = lifetimes
        self._sessions = sessions
        self._in_workers = in_workers
        self._guard: SessionGuard | None = None
        self._open: list[_Running] = []
        self._prepared: _Running | None = None
        self._present: _Running | None = None

    @property
    def present(self) -> Generation:
        """The generation of new requests."""
        assert self._present is not None  # noqa: S101 - the first one is committed before anything is served
        return self._present.generation

    @property
    def count(self) -> int:
        """The generations that are open."""
        return len(self._open)

    def list_pools(self) -> Iterator[Upstream]:
        """The connection pools of all generations that are open."""
        generations = (running.generation for running in self._open)
        return chain.from_iterable((*one.gateway.upstreams.values(), *one.dispatcher.pools) for one in generations)

    async def apply(self, config: Config) -> Sequence[str]:
        """`prepare` and `commit`, with nothing in between. Cancelled, or with an exception, nothing has changed."""
        changed = await self.prepare(config)
        self.commit()
        return changed

    async def prepare(self, config: Config, checked: Preflight | None = None) -> Sequence[str]:
        """Open a generation beside the present one, in place of one that was prepared before.

        Returns the keys whose secrets, which are read again, are others than those of the present one. `checked` is the
        result of `preflight`, if that is known. Raises ConfigError.
        """
        self.abort()
        if checked is None:
            checked = await trio.to_thread.run_sync(preflight, config, self._parts.env, abandon_on_cancel=True)
        self._prepared = prepared = await self._nursery.start(self._run, config, checked)
        return () if self._present is None else compare_secrets(self.present, prepared.generation)

    def commit(self) -> None:
        """Give new requests to the generation that was prepared. The former one ends with its last request."""
        running, former = self._prepared, self._present
        assert running is not None  # noqa: S101 - by the contract of this class
        self._prepared, self._present = None, running
        generation = running.generation
        self._parts.origins.replace(generation.config.auth.origins)
        self._parts.telemetry.replace_labels(generation.label_values)
        self._configure_log(None if former is None else former.generation.config, generation.config)
        self._configure_sessions(generation)
        pairs = zip(self._lifetimes, generation.listeners, strict=True)
        apps = [lifetime.replace(listener.app, listener.render_error) for lifetime, listener in pairs]
        if former is not None:
            former.end(apps)

    def abort(self) -> None:
        """Close the generation that was prepared, if there is one."""
        if self._prepared is not None:
            self._prepared.end()
            self._prepared = None

    async def _run(self, config: Config, checked: Preflight, *, task_status: trio.TaskStatus[_Running]) -> None:
        async with open_generation(config, checked, self._parts, self._choose_guard(config)) as generation:
            running = _Running(generation)
            self._open.append(running)
            try:
                task_status.started(running)
                await running.wait_ended()
            finally:
                self._open.remove(running)

    def _choose_guard(self, config: Config) -> SessionGuard | None:
        """What enforces the limits of sessions, None where there are none. It keeps its state over generations."""
        limits = config.observerd.limits
        if limits == SessionLimitsTable():
            return None
        if self._guard is not None:
            return self._guard
        from lakehouse.runtime.session_guard import SessionGuard  # for few configurations

        return SessionGuard(limits, shared=self._in_workers)

    def _configure_log(self, former: Config | None, config: Config) -> None:
        if former is not None and former.observe.log != config.observe.log:
            self._parts.telemetry.log.change_format(config.observe.log)

    def _configure_sessions(self, generation: Generation) -> None:
        config, guard = generation.config, generation.guard
        self._sessions.stopped_for = config.sessions.stopped_for
        self._parts.registry.configure(max_sessions=config.sessions.max_sessions, limits=guard)
        if guard is None:
            return
        guard.set_limits(config.observerd.limits)
        if self._guard is None:
            self._guard = guard
            self._nursery.start_soon(guard.run, _PresentServices(self), self._sessions)


class _PresentServices:
    """Calls of the services behind the present gateway."""

    def __init__(self, generations: Generations) -> None:
        self._generations = generations

    async def call(
        self, service: str, method: str, path: str, document: object = None, *, context: RequestContext
    ) -> bytes:
        """As `gateway.service_calls.ServiceCalls.call`."""
        return await self._generations.present.gateway.calls.call(service, method, path, document, context=context)
