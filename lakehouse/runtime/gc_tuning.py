"""What the garbage collector is told in a process that is ours alone; a program that embeds us keeps its own ways."""

from __future__ import annotations

import gc

GC_GEN0_THRESHOLD = 10_000
"""New containers before the collector looks through the young ones. Python's 700 are there all the time while many
streams wait, and looking cost a sixth of them. What a circle can hold until then is a few megabytes."""


def tune_gc() -> None:
    """Once all is imported: leave that out of every later look for garbage, and look less often."""
    gc.freeze()
    gc.set_threshold(GC_GEN0_THRESHOLD, *gc.get_threshold()[1:])
    gc.enable()
