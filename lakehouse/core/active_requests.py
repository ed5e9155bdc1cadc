"""The requests that a service is working on at the moment."""

from __future__ import annotations

from collections.abc import Iterator

from lakehouse.core.context import RequestContext


class ActiveRequests:
    """The set of request contexts that have begun and not ended. Iteration is over a copy, so the set may change."""

    def __init__(self) -> None:
        self._contexts: dict[int, RequestContext] = {}

    def __len__(self) -> int:
        return len(self._contexts)

    def __iter__(self) -> Iterator[RequestContext]:
        return iter(tuple(self._contexts.values()))

    def add(self, context: RequestContext) -> None:
        """Add a request that begins."""
        self._contexts[id(context)] = context

    def remove(self, context: RequestContext) -> None:
        """Remove a request that has ended; without effect when it is not in the set."""
        self._contexts.pop(id(context), None)
