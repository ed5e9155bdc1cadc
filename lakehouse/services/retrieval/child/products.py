"""Integer products of quantized rows: by numkong, which uses the processor's instructions for it, or by numpy.

Both give the same numbers. Rows are kept in blocks of `BLOCK`, so an addition packs the last block only.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK = 2048
"""Rows that are packed together: with fewer a product of one query takes 10 % longer, more take longer to add to."""

Codes = NDArray[np.int8]
Products = NDArray[np.int32] | NDArray[np.float32]


class PackedBlock(Protocol):
    """One block of rows in the form that its library multiplies fastest."""

    nbytes: int

    def multiply(self, queries: Codes) -> Products:
        """The products of all queries with all rows: one query a row."""


Pack = Callable[[Codes], PackedBlock]


class PackedRows:
    """The rows of an index, packed. Rows can be added, not removed."""

    def __init__(self, dimension: int, pack: Pack) -> None:
        self.length = 0
        self._pack = pack
        self._sealed: list[PackedBlock] = []
        self._tail = np.empty((BLOCK, dimension), np.int8)
        self._packed_tail: PackedBlock | None = None

    @property
    def nbytes(self) -> int:
        """The memory of the rows."""
        return sum(block.nbytes for block in self._sealed) + self._tail.nbytes

    def append(self, codes: Codes) -> None:
        """Add rows."""
        while len(codes):
            filled = self.length % BLOCK
            part, codes = codes[: BLOCK - filled], codes[BLOCK - filled :]
            self._packed_tail = None
            if len(part) == BLOCK:
                self._sealed.append(self._pack(np.ascontiguousarray(part)))
            else:
                self._tail[filled : filled + len(part)] = part
                if filled + len(part) == BLOCK:
                    self._sealed.append(self._pack(self._tail))
            self.length += len(part)

    def multiply(self, queries: Codes, scale: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Write the products of the queries with all rows, times the scale of each row, to `out`."""
        self.multiply_from(0, queries, scale, out)

    def multiply_from(self, first: int, queries: Codes, scale: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """The same for the rows from `first` on."""
        for number, block in enumerate(self._blocks()[first // BLOCK :], start=first // BLOCK):
            start = max(number * BLOCK, first)
            stop = min((number + 1) * BLOCK, self.length)
            products = block.multiply(queries)[:, start - number * BLOCK :]
            own = out[:, start - first : stop - first]
            np.multiply(products, scale[start:stop], out=own, dtype=np.float32, casting="unsafe")

    def _blocks(self) -> list[PackedBlock]:
        filled = self.length % BLOCK
        if not filled:
            return self._sealed
        if self._packed_tail is None:
            self._packed_tail = self._pack(np.ascontiguousarray(self._tail[:filled]))
        return [*self._sealed, self._packed_tail]


class _NumpyBlock:
    def __init__(self, codes: Codes) -> None:
        self._codes = codes.copy()
        self.nbytes = self._codes.nbytes

    def multiply(self, queries: Codes) -> Products:
        """Products of float32, which are exact up to 1,040 components, and otherwise wrong by less than one in 2^24."""
        products: NDArray[np.float32] = queries.astype(np.float32) @ self._codes.astype(np.float32).T
        return products


def pack_with_numpy(codes: Codes) -> PackedBlock:
    """Keep a copy of the rows."""
    return _NumpyBlock(codes)


def _make_numkong() -> Pack:
    import numkong

    class NumkongBlock:
        def __init__(self, codes: Codes) -> None:
            self._packed = numkong.dots_pack(codes)
            self.nbytes = int(self._packed.nbytes)

        def multiply(self, queries: Codes) -> Products:
            return np.asarray(numkong.dots_packed(queries, self._packed))

    return NumkongBlock


def select_pack() -> tuple[str, Pack]:
    """The fastest installed library: its name, and its function."""
    if find_spec("numkong") is not None:
        return "numkong", _make_numkong()
    return "numpy", pack_with_numpy
