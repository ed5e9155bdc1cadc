"""Settings of the garbage collector for a process of the service. A program that embeds the service keeps its own."""

from __future__ import annotations

import gc

GC_GEN0_THRESHOLD = 10_000
"""Allocations of containers between two collections of the youngest generation. CPython's default of 700 is reached
constantly while many streams are open, and its collections cost a sixth of the capacity for streams. Cyclic garbage
held until 10,000 allocations is at most a few megabytes."""


def tune_gc() -> None:
    """Exclude everything that is imported so far from later collections, and collect less often."""
    gc.freeze()
    gc.set_threshold(GC_GEN0_THRESHOLD, *gc.get_threshold()[1:])
    gc.enable()
