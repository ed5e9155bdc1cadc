"""The limits of a document: bytes of the file, seconds of processor time and of waiting, memory of the child."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lakehouse.services.contracts.documents import DocumentFormat

MIB = 2**20
ADDRESS_SPACE = 512 * MIB
"""Bytes of a child, with the code of the interpreter and its libraries."""
WAITING_FACTOR = 3
"""A child that shares its processor with others has this many seconds for each second of processor time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatLimits:
    """The limits of one format. A file has `seconds` of processor time, and one more for each `bytes_per_second`."""

    size: int
    seconds: int
    max_seconds: int
    bytes_per_second: int = MIB

    def processor_seconds(self, size: int) -> int:
        """The processor time for a file of this size."""
        return min(self.max_seconds, self.seconds + size // self.bytes_per_second)


LIMITS: Mapping[DocumentFormat, FormatLimits] = {
    "text": FormatLimits(size=16 * MIB, seconds=10, max_seconds=20),
    "markdown": FormatLimits(size=16 * MIB, seconds=10, max_seconds=20),
    "html": FormatLimits(size=10_000_000, seconds=10, max_seconds=10),
    "pdf": FormatLimits(size=64 * MIB, seconds=10, max_seconds=120, bytes_per_second=50_000),
    "docx": FormatLimits(size=64 * MIB, seconds=10, max_seconds=30),
}
MAX_SIZE = max(limits.size for limits in LIMITS.values())
