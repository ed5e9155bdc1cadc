"""Makes the cells of an index in a thread, and tries them in the main one before they are used."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import numpy as np

from lakehouse.services.retrieval.child.cells import MAX_TAIL, MIN_ROWS, SAMPLE_ROWS, Cells, make_cells
from lakehouse.services.retrieval.child.index import MemoryIndex
from lakehouse.services.retrieval.child.products import Pack
from lakehouse.services.retrieval.child.row_files import FileFloats, RowFiles
from lakehouse.services.retrieval.child.scan import scan
from lakehouse.services.retrieval.child.store import IndexRecord

logger = logging.getLogger("lakehouse.retrieval")

MIN_RECALL = 0.95
MAX_TIME = 1 / 3
"""The part of the time of an exact scan that a search of the cells may take."""
PROBES = (8, 16, 32, 64, 128)
SAMPLE = 24
"""Vectors of the index whose ten nearest others are searched for."""
NEIGHBOURS = 10


class Trial:
    """Compares the cells with the exact scan, one vector of the sample a step."""

    def __init__(self, index: MemoryIndex, cells: Cells) -> None:
        self.index = index
        self._cells = cells
        self._left = np.random.default_rng(2).integers(0, cells.length, SAMPLE).tolist()
        self._exact: list[float] = []
        self._found = dict.fromkeys(PROBES, 0)
        self._times: dict[int, list[float]] = {probes: [] for probes in PROBES}

    def step(self) -> bool:
        """Try one vector. Returns whether the trial is over; the index has the cells then, if they pay."""
        rows = self.index.rows_to_scan()
        query = self.index.floats.take(np.array([self._left.pop()], np.int64))
        began = time.thread_time()
        exact = scan(rows, query, NEIGHBOURS + 1, None, lambda: None)[0]
        self._exact.append(time.thread_time() - began)
        for probes in PROBES:
            began = time.thread_time()
            found = self._cells.search(rows, query, NEIGHBOURS + 1, probes=probes)[0]
            self._times[probes].append(time.thread_time() - began)
            # one of as many equal distances is as good as another: count those that are no farther than the tenth
            self._found[probes] += int(np.count_nonzero(found.scores >= exact.scores[-1])) - 1
        if not self._left:
            self._decide()
        return not self._left

    def _decide(self) -> None:
        limit = float(np.median(self._exact)) * MAX_TIME
        for probes in PROBES:
            recall = self._found[probes] / (NEIGHBOURS * SAMPLE)
            if recall >= MIN_RECALL and float(np.median(self._times[probes])) <= limit:
                self._cells.probes, self._cells.recall = probes, recall
                self.index.cells = self._cells
                return
        logger.info("the index %r stays exact: cells do not pay", self.index.record.name)


class CellBuilder:
    """Belongs to the main thread, but for the making of cells. `wake` may be called in any thread."""

    def __init__(self, folder: Path, pack: Pack, wake: Callable[[], None]) -> None:
        self._folder = folder
        self._pack = pack
        self._wake = wake
        self._wanted: deque[MemoryIndex] = deque()
        """The index whose cells are being made, and those that wait for that."""
        self._made: deque[tuple[MemoryIndex, Cells | None]] = deque()
        self._trial: Trial | None = None

    @property
    def has_work(self) -> bool:
        """Whether `work` has something to do."""
        return self._trial is not None or bool(self._made)

    def consider(self, index: MemoryIndex) -> None:
        """Have cells made if the index may have them and has grown beyond those that it has.

        Cells are positions in the files: an index that was opened without them has no rows that are gone.
        """
        record, cells = index.record, index.cells
        if not isinstance(index.floats, FileFloats):
            return
        if not record.options.approximate or record.filed < MIN_ROWS or index in self._wanted:
            return
        if max(index.cells_tried, 0 if cells is None else cells.length) * (1 + MAX_TAIL) >= record.filed:
            return
        index.cells_tried = record.filed
        self._wanted.append(index)
        if len(self._wanted) == 1:
            self._start()

    def _start(self) -> None:
        if self._wanted:
            index = self._wanted[0]
            Thread(target=self._make, args=(index, index.record), daemon=True, name="cells").start()

    def _make(self, index: MemoryIndex, record: IndexRecord) -> None:
        cells = None
        try:
            cells = build_cells(record, self._folder, self._pack)
        except Exception:
            logger.exception("the cells of the index %r could not be made", record.name)
        self._made.append((index, cells))
        self._wake()

    def work(self, is_open: Callable[[MemoryIndex], bool]) -> None:
        """Do one step of a trial: at most as long as a few searches."""
        if self._trial is None and self._made:
            index, cells = self._made.popleft()
            self._wanted.popleft()
            self._start()
            self._trial = Trial(index, cells) if cells is not None else None
        if self._trial is not None and (not is_open(self._trial.index) or self._trial.step()):
            self._trial = None


def build_cells(record: IndexRecord, folder: Path, pack: Pack) -> Cells:
    """Make the cells of the rows in an index's files. Raises OSError, ValueError."""
    files = RowFiles(folder, record.number, record.generation, record.options.dimension)
    _, quantized, _ = files.read_codes(record.filed)
    floats = files.open_floats()
    try:
        chosen = np.random.default_rng(1).permutation(record.filed)[:SAMPLE_ROWS]
        return make_cells(record.options.distance, quantized, floats.take(chosen), pack)
    finally:
        floats.close()
