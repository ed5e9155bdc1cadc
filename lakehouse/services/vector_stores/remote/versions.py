"""Versions of indexes that several services write."""

from __future__ import annotations

import time


def next_version(version: int) -> int:
    """The version after another one: microseconds since 1970, since no two services count together."""
    return max(version + 1, time.time_ns() // 1000)
