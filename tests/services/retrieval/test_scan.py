"""The scan returns what a comparison of all vectors in float32 returns, whatever multiplies, filters or batches."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lakehouse.services.contracts.retrieval import Distance
from lakehouse.services.retrieval.child.growing import Growing
from lakehouse.services.retrieval.child.products import BLOCK, Pack, PackedRows, pack_with_numpy, select_pack
from lakehouse.services.retrieval.child.quantization import Quantized, quantize, to_search_space
from lakehouse.services.retrieval.child.row_files import MemoryFloats
from lakehouse.services.retrieval.child.scan import COMPARED, Found, Rows, exact_scores, scan, to_distances
from tools.kit.matrices import spread

Floats = NDArray[np.float32]
PACKS: dict[str, Pack] = {"installed": select_pack()[1], "numpy": pack_with_numpy}


def make_rows(vectors: Floats, distance: Distance, pack: Pack, *, blocked: tuple[int, ...] = ()) -> Rows:
    """An index of these vectors, added in uneven parts."""
    packed, floats = PackedRows(vectors.shape[1], pack), MemoryFloats(vectors.shape[1])
    parts: list[Quantized] = []
    start, size = 0, 1
    while start < len(vectors):
        part = vectors[start : start + size]
        parts.append(quantize(part))
        packed.append(parts[-1].codes)
        floats.append(part)
        start, size = start + size, min(3 * size, 3 * BLOCK)
    usable = np.ones(len(vectors), np.bool_)
    usable[list(blocked)] = False
    scale, error, norm = (np.concatenate([part[at] for part in parts]) for at in (1, 2, 3))
    return Rows(distance, packed, floats, scale, error, norm, usable, np.flatnonzero(~usable))


def compare_all(rows: Rows, query: Floats, k: int, mask: NDArray[np.bool_] | None) -> Found:
    """The best rows by comparing all."""
    everything = np.arange(rows.packed.length)
    scores = exact_scores(rows.floats.take(everything), query, rows.distance)
    usable = rows.usable if mask is None else rows.usable & mask
    order = [at for at in np.lexsort((everything, -scores)) if usable[at]][:k]
    return Found(everything[order], scores[order])


def check_same(rows: Rows, queries: Floats, k: int, mask: NDArray[np.bool_] | None = None) -> None:
    """Scan all queries at once and one by one, and compare all vectors."""
    together = scan(rows, queries, k, mask, lambda: None)
    for query, found in zip(queries, together, strict=True):
        for expected in (compare_all(rows, query, k, mask), scan(rows, query[None, :], k, mask, lambda: None)[0]):
            assert found.positions.tolist() == expected.positions.tolist()
            assert found.scores.tobytes() == expected.scores.tobytes()


SHAPES = {
    "random": lambda rng, n, d: rng.standard_normal((n, d)),
    "many doubles": lambda rng, n, d: rng.standard_normal((40, d))[rng.integers(0, 40, n)],
    "near doubles": lambda rng, n, d: np.ones(d) + 1e-4 * rng.standard_normal((n, d)),
    "one large component": lambda rng, n, d: rng.standard_normal((n, d)) * np.where(np.arange(d) == 0, 1000, 1),
    "unit axes": lambda rng, n, d: np.eye(d)[rng.integers(0, d, n)] + 1e-3 * rng.standard_normal((n, d)),
}


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("distance", spread(["cosine", "dot", "euclidean"], 3))
@pytest.mark.parametrize("shape", SHAPES)
def test_the_scan_finds_what_a_comparison_of_all_finds(shape: str, distance: Distance, pack: str) -> None:
    rng = np.random.default_rng(7)
    vectors = to_search_space(SHAPES[shape](rng, 5000, 33).astype(np.float32), distance)
    rows = make_rows(vectors, distance, PACKS[pack], blocked=(0, 17, 4999))
    queries = to_search_space(np.concatenate([SHAPES[shape](rng, 6, 33), vectors[:2] * 3]).astype(np.float32), distance)
    for k in (1, 10, 300):
        check_same(rows, queries, k)


def test_rows_that_differ_by_less_than_the_error_of_their_codes_are_compared_in_parts() -> None:
    vectors = SHAPES["near doubles"](np.random.default_rng(5), 3 * COMPARED, 8).astype(np.float32)
    rows, looks = make_rows(vectors, "euclidean", PACKS["installed"]), list[int]()
    check_same(rows, vectors[:1], 10)
    scan(rows, vectors[:1], 10, None, lambda: looks.append(1))
    assert len(looks) > 3, "the client may leave between the parts"


@pytest.mark.parametrize("kept", [0.0005, 0.01, 0.2, 0.9])
def test_a_mask_is_applied_before_the_cut(kept: float) -> None:
    rng = np.random.default_rng(8)
    rows = make_rows(rng.standard_normal((6000, 24)).astype(np.float32), "dot", PACKS["installed"])
    mask = rng.random(6000) < kept
    queries = rng.standard_normal((5, 24)).astype(np.float32)
    for k in (10, 100):
        check_same(rows, queries, k, mask)
        found = scan(rows, queries, k, mask, lambda: None)
        assert {len(one.positions) for one in found} == {min(k, int(mask.sum()))}


def test_a_mask_whose_rows_are_a_period_apart_loses_none() -> None:
    rng = np.random.default_rng(9)
    rows = make_rows(rng.standard_normal((6400, 16)).astype(np.float32), "dot", PACKS["installed"])
    mask = np.arange(6400) % 25 == 0  # they share few of the columns whose best score is taken
    check_same(rows, rng.standard_normal((3, 16)).astype(np.float32), 20, mask)


@pytest.mark.parametrize("count", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_both_libraries_multiply_the_same_integers(count: int) -> None:
    rng = np.random.default_rng(count)
    codes = rng.integers(-127, 128, (count, 100)).astype(np.int8)
    queries = rng.integers(-127, 128, (3, 100)).astype(np.int8)
    scale, products = np.ones(count, np.float32), []
    for pack in PACKS.values():
        packed, out = PackedRows(100, pack), np.empty((3, count), np.float32)
        packed.append(codes[: count // 3])
        packed.append(codes[count // 3 :])
        packed.multiply(queries, scale, out)
        products.append(out)
    expected = queries.astype(np.int64) @ codes.astype(np.int64).T
    assert (products[0] == expected).all()
    assert (products[1] == expected).all()


def test_the_error_of_a_quantized_row_is_a_bound() -> None:
    rng = np.random.default_rng(3)
    vectors = np.concatenate(
        [rng.standard_normal((50, 64)) * scale for scale in (1e-30, 1e-3, 1, 1e12)] + [np.zeros((1, 64))]
    ).astype(np.float32)
    quantized = quantize(vectors)
    restored = quantized.codes.astype(np.float64) * quantized.scale[:, None]
    difference = np.linalg.norm(vectors.astype(np.float64) - restored, axis=1)
    assert (difference <= quantized.error).all()
    assert (quantized.error[:150] <= 0.02 * quantized.norm[:150]).all()


def test_distances() -> None:
    vectors = np.array([[3, 4], [0, 5], [-3, -4]], np.float32)
    query = np.array([3, 4], np.float32)
    cosine = to_search_space(vectors, "cosine")
    of_query = to_search_space(query[None, :], "cosine")[0]
    assert to_distances(exact_scores(cosine, of_query, "cosine"), "cosine") == pytest.approx([0, 0.2, 2], abs=1e-6)
    assert to_distances(exact_scores(vectors, query, "dot"), "dot").tolist() == [-25, -20, 25]
    assert to_distances(exact_scores(vectors, query, "euclidean"), "euclidean") == pytest.approx([0, 10**0.5, 10])


def test_a_vector_of_the_smallest_numbers_has_a_direction() -> None:
    tiny = np.array([[1e-45, 0], [1e-40, 1e-40]], np.float32)
    assert np.linalg.norm(to_search_space(tiny, "cosine"), axis=1) == pytest.approx([1, 1])


@pytest.mark.parametrize("size", [1e-30, 1e-37, 1e-40, 1e-45])
@pytest.mark.parametrize("spread", [1.0, 1e15])
def test_a_query_near_the_origin_is_compared_by_its_distance(size: float, spread: float) -> None:
    vectors = (spread * np.random.default_rng(6).standard_normal((2000, 8))).astype(np.float32)
    queries = np.array([[size] * 8, [0] * 8, [1] * 8], np.float32)
    check_same(make_rows(vectors, "euclidean", PACKS["installed"]), queries, 10)


def test_an_array_grows_at_its_end() -> None:
    growing = Growing(np.int64)
    for start in range(0, 5000, 700):
        growing.append(np.arange(start, start + 700))
    assert growing.view.tolist() == list(range(5600))
