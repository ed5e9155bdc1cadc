"""Who is asked before a call of a session, and told its answer: the rules for runs."""

from __future__ import annotations

from typing import Protocol

from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.request import Request
from lakehouse.core.context import RequestContext


class CallObserver(Protocol):
    """Follows the calls whose context has a session. Neither method may block."""

    def admit(self, request: Request, context: RequestContext) -> None:
        """Called before anything is sent. Raises the `LakehouseError` by which the call is refused."""

    def record(self, request: Request, answer: ProviderAnswer, context: RequestContext) -> None:
        """Called with the complete answer, streamed or not, before its last piece is sent."""
