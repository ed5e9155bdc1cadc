"""A route to a process of our own: waited for while it starts, and asked again where it was away."""

from __future__ import annotations

from math import inf

import trio

from lakehouse.chat.dispatch.attempts import ActiveAttempt
from lakehouse.chat.dispatch.call import ChatCall
from lakehouse.chat.dispatch.circuit_breaker import CircuitBreaker, CircuitPermit
from lakehouse.chat.dispatch.policy import lost_connection
from lakehouse.chat.providers.registry import Route
from lakehouse.core.errors import ErrUnreached, LakehouseError
from lakehouse.core.provider_failures import failure
from lakehouse.local_model.readiness import Readiness


class OwnProcess:
    """What one walk over such a route knows of its process. The wait is no part of an attempt."""

    def __init__(self, call: ChatCall, route: Route, readiness: Readiness) -> None:
        self._call = call
        self._route = route
        self._readiness = readiness
        self._life = 0
        self._lost = 0  # the life to which a connection broke
        self._missed = 0  # the life that could not be connected to

    async def admit(self, circuit: CircuitBreaker) -> CircuitPermit | None:
        """`CircuitBreaker.admit`, once the process serves.

        Waits until the call's deadline, or for `first_token_timeout` where another route could be asked. Raises
        `ErrTimeout` then, and `ErrUnavailable` when the process cannot be started.
        """
        state = self._readiness.state
        if state.phase == "serving" and state.life != self._lost:
            self._life = state.life
        else:
            self._life = await self._served()
        return circuit.admit()

    async def _served(self) -> int:
        call, route = self._call, self._route
        call.context.begin_phase("queued")
        call.context.assign_provider(route.provider.name, route.model)
        timeout = inf if call.on_last_route else call.settings.first_token_timeout
        with trio.move_on_after(timeout):
            return await self._readiness.served(lost=self._lost)
        message = f"first_token_timeout: the process of {route} was not ready within {timeout:g} s"
        raise failure("timeout", message, provider=route.provider.name)

    def ended(self, attempt: ActiveAttempt, error: LakehouseError) -> bool:
        """Whether the attempt that ended in `error` is made again as if it had not been made: the process had just
        ended, so nothing was sent. Once in each life, for a process that serves can be connected to.
        """
        if lost_connection(error):
            self._lost = self._life
        if not isinstance(error, ErrUnreached) or self._missed == self._life:
            return False
        self._missed = self._life
        attempt.unsent = True
        return True
