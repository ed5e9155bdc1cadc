"""What the routes need of the dispatcher, and nothing else of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from lakehouse.chat.model.answer import Answer
from lakehouse.chat.model.listing import ModelCard, ProviderState
from lakehouse.chat.model.pieces import Piece
from lakehouse.chat.model.request import Request
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import Attempt

__all__ = ["Dispatcher", "ModelCard", "Pieces", "ProviderState"]


Meanwhile = Callable[[Sequence[Piece]], Awaitable[None] | None]


class Pieces(Protocol):
    """A stream under way. `provider`, `model` and `attempts` are the serving route's, from the first piece."""

    @property
    def provider(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def attempts(self) -> tuple[Attempt, ...]: ...

    def batches(self, meanwhile: Meanwhile | None = None) -> AsyncIterator[Sequence[Piece]]:
        """Pieces that arrived together, as they arrive; the very last one is `Done`, and a failure is raised.

        `meanwhile` may be given, by another task, what arrives while the iterator waits, the end excepted; the iterator
        awaits what that returns, and does not give what it has given to it.
        """


class Dispatcher(Protocol):
    """Asks models. Whatever a call starts has ended when it returns, raises or is cancelled."""

    async def __call__(self, request: Request, /, *, context: RequestContext | None = None) -> Answer: ...

    def stream(
        self, request: Request, /, *, context: RequestContext | None = None
    ) -> AbstractAsyncContextManager[Pieces]: ...

    def providers(self) -> Sequence[ProviderState]: ...

    async def models(self) -> Sequence[ModelCard]: ...
