"""What the routes need of the dispatcher, and nothing else of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from lakehouse.chat.request import Answer, Piece, Request
from lakehouse.errors import Attempt
from lakehouse.observe.inflight import Flight


class ProviderState(msgspec.Struct, frozen=True, kw_only=True):
    """A registered provider; `available` while its circuit is closed, `default` if it answers bare model names."""

    name: str
    available: bool
    default: bool


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """A model that may be asked for: `id` is what a request says, `created` unix seconds (0 when nobody says)."""

    id: str
    owned_by: str
    created: int = 0


class Pieces(Protocol):
    """A stream under way. `provider`, `model` and `attempts` are the serving route's, from the first piece."""

    @property
    def provider(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def attempts(self) -> tuple[Attempt, ...]: ...

    def batches(self) -> AsyncIterator[Sequence[Piece]]:
        """Pieces that arrived together, as they arrive; the very last one is `Done`, and a failure is raised."""


class Dispatcher(Protocol):
    """Asks models. Whatever a call starts has ended when it returns, raises or is cancelled."""

    async def __call__(self, request: Request, /, *, flight: Flight | None = None) -> Answer: ...

    def stream(self, request: Request, /, *, flight: Flight | None = None) -> AbstractAsyncContextManager[Pieces]: ...

    def providers(self) -> Sequence[ProviderState]: ...

    async def models(self) -> Sequence[ModelCard]: ...
