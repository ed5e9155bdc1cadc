"""How far a promotion is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Progress:
    """What is being done, and how much of it is done. `copied` are the files that this run has stored."""

    phase: str = "reading the tables"
    done: int = 0
    total: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    copied: int = 0

    def begin(self, phase: str, total: int, bytes_total: int = 0) -> None:
        """Begin a phase of so many steps."""
        self.phase, self.done, self.total = phase, 0, total
        self.bytes_done, self.bytes_total = 0, bytes_total

    def advance(self, size: int = 0) -> None:
        """One step is done."""
        self.done += 1
        self.bytes_done += size
