"""Admission of attempts to the embedded model: waits while its process starts, and repeats an attempt that was made
while no process served."""

from __future__ import annotations

from math import inf

import trio

from lakehouse.chat.dispatch.calls.attempt_log import ActiveAttempt
from lakehouse.chat.dispatch.calls.call import ChatCall
from lakehouse.chat.dispatch.policies.circuit_breaker import AttemptPermit, Circuit
from lakehouse.chat.dispatch.policies.failure_rules import is_connection_lost
from lakehouse.chat.providers.registry import ModelRoute
from lakehouse.core.errors import ErrUnreached, LakehouseError
from lakehouse.core.provider_failures import make_failure
from lakehouse.local_model.readiness import Readiness


class LocalModelGate:
    """The processes of the embedded model that one `try_route` has used. They are numbered by `generation`."""

    def __init__(self, call: ChatCall, route: ModelRoute, readiness: Readiness) -> None:
        self._call = call
        self._route = route
        self._readiness = readiness
        self._generation = 0
        self._failed_generation = 0  # a connection to this process broke
        self._unreached_generation = 0  # this process could not be connected to

    async def admit(self, circuit: Circuit) -> AttemptPermit | None:
        """`CircuitBreaker.admit`, once the process is ready. The wait is not part of an attempt.

        Waits until the call's deadline, or `first_token_timeout` seconds if another route could be tried. Raises
        `ErrTimeout` then, and `ErrUnavailable` when the process cannot be started.
        """
        state = self._readiness.state
        if state.phase == "serving" and state.generation != self._failed_generation:
            self._generation = state.generation
        else:
            self._generation = await self._wait_ready()
        return circuit.admit()

    async def _wait_ready(self) -> int:
        call, route = self._call, self._route
        call.context.begin_phase("queued")
        call.context.assign_provider(route.provider.name, route.model)
        timeout = inf if call.has_no_other_route else call.settings.first_token_timeout
        with trio.move_on_after(timeout):
            return await self._readiness.wait_serving(failed_generation=self._failed_generation)
        message = f"first_token_timeout: the process of {route} was not ready within {timeout:g} s"
        raise make_failure("timeout", message, provider=route.provider.name)

    def may_repeat(self, attempt: ActiveAttempt, error: LakehouseError) -> bool:
        """Whether the failed attempt is repeated as if it had not been made: the process was gone, so nothing was sent.

        Once for each process: a process that serves accepts connections.
        """
        if is_connection_lost(error):
            self._failed_generation = self._generation
        if not isinstance(error, ErrUnreached) or self._unreached_generation == self._generation:
            return False
        self._unreached_generation = self._generation
        attempt.mark_unsent()
        return True
