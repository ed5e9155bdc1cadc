"""What an upstream's refusal means."""

from __future__ import annotations
from collections.abc import Iterable
from lakehouse.errors import LakehouseError


def classify(
    status: int,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    *,
    provider: str,
    secrets: Iterable[str] = (),
    now: float | None = None,
) -> LakehouseError:
    """The failure that an upstream's answer is; being written."""
    raise NotImplementedError
