"""An engine that the tests of one module share, in an event loop of its own: its process takes half a second to start."""

from __future__ import annotations

import queue
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Self, TypeVar

import pytest
import trio

from lakehouse.services.contracts.retrieval import RetrievalEngine
from tools.kit.retrieval_engine import open_engine, open_server_engine, open_store_engine
from tools.kit.scaleout.postgres import Postgres

T = TypeVar("T")
Opener = Callable[[], AbstractAsyncContextManager[RetrievalEngine]]


class SharedEngine:
    """An open engine in a thread; a test runs in it with `run`."""

    def __init__(self, opener: Opener, *, exact: bool = True, one_rarity: bool = True) -> None:
        """`exact`: whether searches by vector are. `one_rarity`: whether words are counted over all indexes of a search,
        so that their scores are those of one index."""
        self.exact = exact
        self.one_rarity = one_rarity
        self._opener = opener
        self._ready: queue.SimpleQueue[trio.lowlevel.TrioToken] = queue.SimpleQueue()
        self._thread = threading.Thread(target=trio.run, args=(self._serve,))
        self._engine: RetrievalEngine | None = None
        self._done: trio.Event | None = None

    async def _serve(self) -> None:
        self._done = trio.Event()
        async with self._opener() as engine:
            self._engine = engine
            self._ready.put(trio.lowlevel.current_trio_token())
            await self._done.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        self._token = self._ready.get(timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._done is not None
        self._token.run_sync_soon(self._done.set)
        self._thread.join()

    def run(self, story: Callable[[RetrievalEngine], Awaitable[T]]) -> T:
        """Run a story with the engine, within a minute."""
        engine = self._engine
        assert engine is not None

        async def bounded() -> T:
            with trio.fail_after(60):
                return await story(engine)

        return trio.from_thread.run(bounded, trio_token=self._token)


@pytest.fixture(scope="module", params=["folder", "pgvector", "qdrant", "chroma"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedEngine]:
    """The engine: over its folder, and over a store that services share."""
    path = tmp_path_factory.mktemp("retrieval") / "lake"
    opener: Opener = partial(open_engine, path)
    if request.param == "pgvector":
        postgres: Postgres = request.getfixturevalue("postgres")
        opener = partial(open_store_engine, path, postgres.create_database())
    elif request.param != "folder":
        opener = partial(open_server_engine, path, request.getfixturevalue(request.param))
    known = {"exact": request.param != "chroma", "one_rarity": request.param in ("folder", "pgvector")}
    with SharedEngine(opener, **known) as shared:
        yield shared
