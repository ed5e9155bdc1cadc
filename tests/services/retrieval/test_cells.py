"""The approximate search: the same distances, a measured recall, and used only where it pays."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lakehouse.services.contracts.retrieval import Distance, IndexOptions
from lakehouse.services.retrieval.child import cell_builder, cells
from lakehouse.services.retrieval.child.cell_builder import CellBuilder, Trial, build_cells
from lakehouse.services.retrieval.child.cells import MAX_K, Cells, make_cells
from lakehouse.services.retrieval.child.index import MemoryIndex, make_block
from lakehouse.services.retrieval.child.products import select_pack
from lakehouse.services.retrieval.child.row_files import MemoryFloats, RowFiles
from lakehouse.services.retrieval.child.scan import scan
from lakehouse.services.retrieval.child.store import IndexRecord

Floats = NDArray[np.float32]
COUNT, DIMENSION = 12_000, 24


def make_record(distance: Distance = "cosine", *, approximate: bool = True, filed: int = COUNT) -> IndexRecord:
    options = IndexOptions(name="a", dimension=DIMENSION, distance=distance, approximate=approximate)
    return IndexRecord(
        number=1,
        name="a",
        options=options,
        version=1,
        length=filed,
        source=b"",
        created_ms=0,
        generation=0,
        filed=filed,
    )


def make_vectors(count: int, seed: int) -> Floats:
    """Vectors around 200 centres, as texts have neighbours."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((200, DIMENSION)) * 3
    return (centres[rng.integers(0, 200, count)] + rng.standard_normal((count, DIMENSION))).astype(np.float32)


def make_index(distance: Distance, vectors: Floats) -> MemoryIndex:
    record = make_record(distance, filed=len(vectors))
    index = MemoryIndex(record, select_pack()[1], MemoryFloats(DIMENSION))
    block = make_block(record, range(1, len(vectors) + 1), [one.tobytes() for one in vectors])
    index.apply([block], [b""] * len(vectors), np.empty(0, np.int64))
    return index


def make_own_cells(index: MemoryIndex, vectors: Floats) -> Cells:
    block = make_block(index.record, range(len(vectors)), [one.tobytes() for one in vectors])
    return make_cells(index.record.options.distance, block.quantized, block.vectors, select_pack()[1])


@pytest.mark.parametrize("distance", ["cosine", "dot", "euclidean"])
def test_cells_find_most_with_the_distances_of_the_exact_scan(distance: Distance) -> None:
    vectors = make_vectors(COUNT, seed=1)
    index = make_index(distance, vectors)
    own = make_own_cells(index, vectors)
    assert own.length == COUNT
    queries = index.floats.take(np.arange(0, COUNT, 500))
    exact = scan(index.rows_to_scan(), queries, 10, None, lambda: None)
    found = own.search(index.rows_to_scan(), queries, 10, probes=8)
    everything = own.search(index.rows_to_scan(), queries, 10, probes=10_000)
    shares = []
    for one, other, whole in zip(exact, found, everything, strict=True):
        scores = dict(zip(one.positions.tolist(), one.scores.tolist(), strict=True))
        assert all(
            scores.get(at, score) == score
            for at, score in zip(other.positions.tolist(), other.scores.tolist(), strict=True)
        )
        assert sorted(other.scores, reverse=True) == list(other.scores)
        shares.append(len(scores.keys() & set(other.positions.tolist())) / 10)
        assert len(scores.keys() & set(whole.positions.tolist())) >= 9
    assert np.mean(shares) > 0.8


def test_rows_that_are_new_or_gone_are_seen() -> None:
    vectors = make_vectors(COUNT, seed=2)
    index = make_index("cosine", vectors)
    own = make_own_cells(index, vectors)
    own.probes = 4
    new = make_block(index.record, [COUNT + 1, COUNT + 2], [vectors[7].tobytes(), vectors[8].tobytes()])
    index.apply([new], [b""] * 2, np.array([8, COUNT + 2], np.int64))  # rows are positions + 1
    rows = index.rows_to_scan()
    assert own.serves(rows, 10)
    best = own.search(rows, index.floats.take(np.array([7])), 1)[0]
    assert best.positions.tolist() == [COUNT]  # the copy of the row that is gone
    many = make_block(index.record, range(COUNT + 3, COUNT + 2003), [vectors[0].tobytes()] * 2000)
    index.apply([many], [b""] * 2000, np.empty(0, np.int64))
    assert not own.serves(index.rows_to_scan(), 10)
    assert not own.serves(rows, MAX_K + 1)


@pytest.mark.parametrize("pays", [True, False])
def test_cells_are_used_only_if_they_pay(monkeypatch: pytest.MonkeyPatch, *, pays: bool) -> None:
    vectors = make_vectors(COUNT, seed=3)
    index = make_index("cosine", vectors)
    monkeypatch.setattr(cell_builder, "MAX_TIME", 1000.0 if pays else 0.0)
    trial = Trial(index, make_own_cells(index, vectors))
    while not trial.step():
        assert index.cells is None
    if pays:
        assert index.cells is not None
        assert index.cells.probes in cell_builder.PROBES
        assert cell_builder.MIN_RECALL <= index.cells.recall <= 1
        assert index.nbytes > index.cells.nbytes
    else:
        assert index.cells is None


def test_a_builder_makes_cells_of_the_files_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_builder, "MIN_ROWS", 1000)
    monkeypatch.setattr(cell_builder, "MAX_TIME", 1000.0)
    vectors = make_vectors(COUNT, seed=4)
    files = RowFiles(tmp_path, 1, 0, DIMENSION)
    block = make_block(make_record(), range(1, COUNT + 1), [one.tobytes() for one in vectors])
    assert files.append([block], 0) == COUNT
    index = MemoryIndex(make_record(), select_pack()[1], files.open_floats())
    index.apply([block], [b""] * COUNT, np.empty(0, np.int64))
    woken: list[bool] = []
    builder = CellBuilder(tmp_path, select_pack()[1], lambda: woken.append(True))
    for record in (make_record(approximate=False), make_record(filed=500)):
        index.record = record
        builder.consider(index)
        assert index.cells_tried == 0
    without_files = make_index("cosine", vectors)  # as if its files were damaged: its positions are not those of them
    builder.consider(without_files)
    assert without_files.cells_tried == 0
    index.record = make_record()
    builder.consider(index)
    builder.consider(index)
    while not woken:
        time.sleep(0.001)
    for _ in range(cell_builder.SAMPLE + 1):
        builder.work(lambda _: True)
    assert not builder.has_work
    assert woken == [True]
    assert index.cells is not None
    assert build_cells(index.record, tmp_path, select_pack()[1]).length == COUNT
    assert cells.MIN_ROWS > 1000
    index.close()
