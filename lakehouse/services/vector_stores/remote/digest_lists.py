"""Lists of ids and digests in the order of the ids, for stores that have another order.

A list is read whole when its first page is asked for, and kept until its last page, for `KEPT_SECONDS` at most.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import trio

from lakehouse.services.contracts.retrieval import Digest

KEPT_SECONDS = 300.0
MAX_KEPT = 4
"""Lists that are kept at a time."""


@dataclass(frozen=True, slots=True)
class _List:
    digests: Sequence[Digest]
    read_at: float


class DigestLists:
    """The lists of one store."""

    def __init__(self) -> None:
        self._lists: dict[str, _List] = {}

    async def page(
        self, index: str, after: str, limit: int, read: Callable[[], AsyncIterator[Sequence[Digest]]]
    ) -> Sequence[Digest]:
        """The digests behind the id `after`. `read` reads all of the index, in any order."""
        kept = self._lists.pop(index, None)
        if kept is None or not after or trio.current_time() > kept.read_at + KEPT_SECONDS:
            found = [digest async for part in read() for digest in part]
            found.sort(key=lambda digest: digest.id)
            kept = _List(found, trio.current_time())
        begin = bisect_right(kept.digests, after, key=lambda digest: digest.id)
        page = kept.digests[begin : begin + limit]
        if begin + limit < len(kept.digests):
            self._lists[index] = kept
            while len(self._lists) > MAX_KEPT:
                del self._lists[next(iter(self._lists))]
        return page
