"""Two derived files of a large index, so that it opens without reading its vectors from the database.

    <number>-<generation>.codes    per row: its number, scale, error, norm, the int8 codes
    <number>-<generation>.floats   per row: the vector of the search space in float32

Rows are appended and made durable before the transaction that counts them (`IndexRecord.filed`) commits. What is beyond
that count is of a transaction that did not commit, and the next append overwrites it. Rows stay in the files after
their items are gone, until the files are written again under a new generation.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lakehouse.services.retrieval.child.quantization import Quantized

MAPPED_LIMIT = 192 * 2**20
"""Bytes of floats up to which the file is mapped into memory; of a larger one the wanted rows are read."""


class Block(NamedTuple):
    """Rows that were added: their numbers, what is compared, the vectors of the search space, which of them count.

    A row without a vector has `present` false.
    """

    rows: NDArray[np.int64]
    quantized: Quantized
    vectors: NDArray[np.float32]
    present: NDArray[np.bool_]


def _record_type(dimension: int) -> np.dtype[np.void]:
    return np.dtype(
        [("row", "<i8"), ("scale", "<f4"), ("error", "<f4"), ("norm", "<f4"), ("present", "<i4"),
         ("codes", "i1", (dimension,))]
    )  # fmt: skip


class RowFiles:
    """The files of one generation of an index."""

    def __init__(self, folder: Path, number: int, generation: int, dimension: int) -> None:
        self._codes = folder / f"{number}-{generation}.codes"
        self._floats = folder / f"{number}-{generation}.floats"
        self._type = _record_type(dimension)
        self._dimension = dimension

    def holds(self, count: int) -> bool:
        """Whether the files have at least `count` rows."""
        try:
            sizes = self._codes.stat().st_size, self._floats.stat().st_size
        except OSError:
            return False
        return sizes[0] >= count * self._type.itemsize and sizes[1] >= count * self._dimension * 4

    def append(self, blocks: Sequence[Block], at: int) -> int:
        """Write rows behind the first `at`; durable at return. Returns the number of rows then."""
        with self._codes.open("r+b" if at else "wb") as codes, self._floats.open("r+b" if at else "wb") as floats:
            codes.seek(at * self._type.itemsize)
            floats.seek(at * self._dimension * 4)
            for block in blocks:
                codes.write(self._make_records(block).tobytes())
                floats.write(np.ascontiguousarray(block.vectors).data.cast("B"))
                at += len(block.rows)
            for file in (codes, floats):
                file.flush()
                os.fdatasync(file.fileno())
        return at

    def _make_records(self, block: Block) -> NDArray[np.void]:
        records = np.zeros(len(block.rows), self._type)
        records["row"], records["present"] = block.rows, block.present
        records["codes"], records["scale"] = block.quantized.codes, block.quantized.scale
        records["error"], records["norm"] = block.quantized.error, block.quantized.norm
        return records

    def read_codes(self, count: int) -> tuple[NDArray[np.int64], Quantized, NDArray[np.bool_]]:
        """The first `count` rows without their floats. Raises OSError, ValueError if there are fewer."""
        if not self.holds(count):
            raise ValueError(f"{self._codes.stem} has fewer than {count} rows")
        with self._codes.open("rb") as file:
            records = np.fromfile(file, self._type, count)
        quantized = Quantized(
            np.ascontiguousarray(records["codes"]),
            records["scale"].copy(),
            records["error"].copy(),
            records["norm"].copy(),
        )
        return records["row"].copy(), quantized, records["present"] != 0

    def open_floats(self) -> FileFloats:
        """The floats of the rows. Raises OSError."""
        return FileFloats(self._floats, self._dimension)


class FileFloats:
    """The floats of an index in their file, mapped into memory if they are few."""

    nbytes = 0

    def __init__(self, file: Path, dimension: int) -> None:
        self._file = file.open("rb", buffering=0)
        self._dimension = dimension
        self._map: mmap.mmap | None = None
        self._array = np.empty((0, dimension), np.float32)

    def append(self, vectors: NDArray[np.float32]) -> None:
        """Rows were added to the file: nothing to do before they are read."""

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors at these positions."""
        if not len(positions):
            return np.empty((0, self._dimension), np.float32)
        if int(positions.max()) >= len(self._array) and not self._remap():
            return self._read(positions)
        taken: NDArray[np.float32] = self._array[positions]
        return taken

    def _remap(self) -> bool:
        size = os.fstat(self._file.fileno()).st_size
        size -= size % (self._dimension * 4)
        if size > MAPPED_LIMIT:
            self._array = np.empty((0, self._dimension), np.float32)
            self._map = None
            return False
        self._map = mmap.mmap(self._file.fileno(), size, prot=mmap.PROT_READ)
        self._array = np.frombuffer(self._map, "<f4").reshape(-1, self._dimension)
        return True

    def _read(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        found = np.empty((len(positions), self._dimension), np.float32)
        size, descriptor = self._dimension * 4, self._file.fileno()
        view = found.data.cast("B")
        for at, position in enumerate(positions.tolist()):
            os.preadv(descriptor, (view[at * size : (at + 1) * size],), position * size)
        return found

    def close(self) -> None:
        """Close the file. Arrays that were taken stay valid."""
        self._file.close()


class MemoryFloats:
    """The floats of a small index, in memory with room to grow."""

    def __init__(self, dimension: int) -> None:
        self._array = np.empty((64, dimension), np.float32)
        self._length = 0

    @property
    def nbytes(self) -> int:
        """The memory of the floats."""
        return self._array.nbytes

    def append(self, vectors: NDArray[np.float32]) -> None:
        """Add rows."""
        wanted = self._length + len(vectors)
        if wanted > len(self._array):
            grown = np.empty((max(wanted, 2 * len(self._array)), self._array.shape[1]), np.float32)
            grown[: self._length] = self._array[: self._length]
            self._array = grown
        self._array[self._length : wanted] = vectors
        self._length = wanted

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors at these positions."""
        taken: NDArray[np.float32] = self._array[positions]
        return taken

    def close(self) -> None:
        """Nothing to close."""


def remove_unknown(folder: Path, known: set[tuple[int, int]]) -> None:
    """Remove the files of indexes and generations that are not in use."""
    for file in folder.iterdir():
        number, _, generation = file.stem.partition("-")
        if file.suffix in (".codes", ".floats") and (
            not (number.isdecimal() and generation.isdecimal()) or (int(number), int(generation)) not in known
        ):
            with suppress(OSError):
                file.unlink()
