"""The relevance of chunks, and the downgrade: the original's numbers and its truth table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import trio

from lakehouse.services.matrixd.downgrade import DowngradeRequest, choose_mode
from lakehouse.services.matrixd.relevance import (
    SLICE,
    Chunk,
    Focus,
    RelevanceAnswer,
    RelevanceRequest,
    ScoredChunk,
    Turns,
    divide_chunks,
    read_focus,
    score_chunk,
)
from tests.services.matrixd.matrix_kit import open_matrix

FOCUS = Focus(path="internal/catalogd/registry.go", defined_symbols=["Registry"], imported_symbols=["storage.Client"])


@pytest.mark.parametrize(
    ("chunk", "score"),
    [
        (Chunk(id="path", text="see internal/catalogd/registry.go"), 1.0 + 0.4 * 4 / 7),
        (Chunk(id="own", path="internal/catalogd/registry.go"), 1.0 + 0.3 + 0.4 * 4 / 6),
        (Chunk(id="name", text="in registry.go"), 0.6 + 0.4 * 2 / 7),
        (Chunk(id="sibling", path="internal/catalogd/x.go"), 0.3 + 0.4 * 3 / 7),
        (Chunk(id="defines", text="type Registry struct"), 0.6 + 0.4 * 1 / 8),
        (Chunk(id="both", text="Registry Client"), 0.6 + 0.4 * 2 / 6),
        (Chunk(id="imports", text="new Client here"), -0.5 + 0.4 * 1 / 8),
        (Chunk(id="part", text="Clients and Registrys"), 0.0),
        (Chunk(id="junk", text="nothing of interest"), 0.0),
    ],
    ids=lambda value: value.id if isinstance(value, Chunk) else "",
)
async def test_the_signals_add_up(chunk: Chunk, score: float) -> None:
    turns = Turns()
    assert await score_chunk(await read_focus(FOCUS, turns), chunk, turns) == pytest.approx(score)


async def test_relevance_smoke() -> None:
    """What the focus file defines scores 0.68 and stays; what it imports scores -0.46, junk 0.00, and both go."""
    async with open_matrix() as matrix:
        focus = {"path": "a/b.c", "defined_symbols": ["Catalog"], "imported_symbols": ["Store"]}
        chunks = [
            {"id": "defines", "text": "Catalog Store one two three four five"},
            {"id": "imports", "text": "Store one two three four five"},
            {"id": "junk", "text": "one two"},
        ]
        answer = await matrix.post("relevance", focus=focus, chunks=chunks)
        assert answer["kept"] == [{"id": "defines", "score": 0.68}]
        assert answer["dropped"] == [{"id": "imports", "score": -0.46}, {"id": "junk", "score": 0.0}]
        answer = await matrix.post("relevance", focus=focus, chunks=chunks, threshold=-1)
        assert (len(answer["kept"]), answer["dropped"]) == (3, [])
        error = (await matrix.post("relevance", 400, chunks=[]))["error"]
        assert "`focus`" in error["message"]


async def test_many_chunks_against_a_large_focus_leave_the_loop_to_others() -> None:
    """The symbols of the focus are read once, and a task beside the work gets its turns."""
    names = CountedNames(f"symbol{number}" for number in range(20_000))
    focus = Focus(path="a/b/" + "c" * 100_000, defined_symbols=names, imported_symbols=names)
    chunks = [Chunk(id=str(number), text=f"symbol{number}", path="a/b/x") for number in range(5_000)]
    answer, turns = await count_turns(RelevanceRequest(focus=focus, chunks=chunks))
    assert [chunk.score for chunk in answer.kept] == [round(0.6 + 0.3 + 0.4 * 3 / 20_004, 6)] * 5_000
    assert names.reads == 4  # twice as tokens, as defined and as imported symbols
    assert turns >= 5_000 // 256 - 1


@pytest.mark.parametrize("text", ["w1 Registry.Open_it ", "a_", "."], ids=["words", "parts of words", "no words"])
async def test_one_long_text_leaves_the_loop_to_others(text: str) -> None:
    """In a chunk or in the focus; it is cut between words only."""
    length = 500_000
    long = (text * length)[:length]
    for focus, chunk in (FOCUS, Chunk(id="long", text=long)), (Focus("p", (long,), (long,)), Chunk(id="short")):
        answer, turns = await count_turns(RelevanceRequest(focus=focus, chunks=[chunk], threshold=-1))
        assert turns >= length // (2 * SLICE)
        if chunk.text and "Registry" in text:  # `w1`, `Registry`, `Open`, `it` beside four words of the focus
            assert answer.kept == [ScoredChunk("long", round(0.6 + 0.4 * 1 / 9, 6))]


async def count_turns(request: RelevanceRequest) -> tuple[RelevanceAnswer, int]:
    """The answer, and how often another task ran meanwhile."""
    turns = 0

    async def run() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        answer = await divide_chunks(request)
        nursery.cancel_scope.cancel()
    return answer, turns


class CountedNames(list[str]):
    """Names that count how often they are iterated over."""

    reads = 0

    def __iter__(self) -> Iterator[str]:
        self.reads += 1
        return super().__iter__()


TRUTH: list[tuple[dict[str, Any], str]] = [
    ({"model": "grok-4"}, "codereview_isolation"),
    ({"model": "grok-4", "forced_mode": True}, "codereview_lakehouse"),
    ({"model": "grok-4", "force_full_enrichment": True}, "codereview_lakehouse"),
    ({"model": "x/y:free"}, "codereview_lakehouse"),
    ({"model": "x/y:free/z"}, "codereview_lakehouse"),
    ({"model": "qwen3.5:latest"}, "codereview_lakehouse"),
    ({"model": "qwen3:latest"}, "codereview_lakehouse"),
    ({"model": "tiny"}, "codereview_lakehouse"),
    ({"model": "tiny2"}, "codereview_isolation"),
]


@pytest.mark.parametrize(("body", "mode"), TRUTH)
async def test_the_downgrade_over_http(body: dict[str, Any], mode: str) -> None:
    async with open_matrix() as matrix:
        answer = await matrix.post("downgrade", mode="codereview_lakehouse", **body)
        kept = {"mode": mode}
        assert answer == (
            kept if mode == "codereview_lakehouse" else {**kept, "downgraded_from": "codereview_lakehouse"}
        )
        assert await matrix.post("downgrade", mode="chat", **body) == {"mode": "chat"}
        assert (await matrix.post("downgrade", 400, **body))["error"]["code"] == "ErrBadRequest"


@pytest.mark.parametrize(
    ("variable", "flag", "mode"),
    [("1", None, "codereview_lakehouse"), ("1", False, "codereview_isolation"), ("0", None, "codereview_isolation")],
)
def test_the_environment_stands_in_for_an_omitted_flag(variable: str, flag: bool | None, mode: str) -> None:
    request = DowngradeRequest(mode="codereview_lakehouse", model="strong", force_full_enrichment=flag)
    chosen = choose_mode(request, weak_models=(), environment={"LH_FORCE_FULL_ENRICHMENT": variable})
    assert chosen.mode == mode
