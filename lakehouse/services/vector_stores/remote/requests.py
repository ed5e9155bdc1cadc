"""What is sent to a server in several requests, each within its limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def split_by_size(
    items: Iterable[T], measure: Callable[[T], int], *, max_bytes: int, max_items: int | None = None
) -> Iterator[list[T]]:
    """The items of each request: at most `max_items`, and `max_bytes` as `measure` counts, or one larger item."""
    part: list[T] = []
    size = 0
    for item in items:
        own = measure(item)
        if part and (size + own > max_bytes or len(part) == max_items):
            yield part
            part, size = [], 0
        part.append(item)
        size += own
    if part:
        yield part
