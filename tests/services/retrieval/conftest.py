"""An engine that the tests of one module share, in an event loop of its own: its process takes half a second to start."""

from __future__ import annotations

import queue
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Self, TypeVar

import pytest
import trio

from lakehouse.services.retrieval.client import LakeRetrieval
from tools.kit.retrieval_engine import open_engine

T = TypeVar("T")


class SharedEngine:
    """An open engine in a thread; a test runs in it with `run`."""

    def __init__(self, path: Path) -> None:
        self._ready: queue.SimpleQueue[trio.lowlevel.TrioToken] = queue.SimpleQueue()
        self._thread = threading.Thread(target=trio.run, args=(self._serve, path))
        self._engine: LakeRetrieval | None = None
        self._done: trio.Event | None = None

    async def _serve(self, path: Path) -> None:
        self._done = trio.Event()
        async with open_engine(path) as engine:
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

    def run(self, story: Callable[[LakeRetrieval], Awaitable[T]]) -> T:
        """Run a story with the engine, within a minute."""
        engine = self._engine
        assert engine is not None

        async def bounded() -> T:
            with trio.fail_after(60):
                return await story(engine)

        return trio.from_thread.run(bounded, trio_token=self._token)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedEngine]:
    """The engine."""
    with SharedEngine(tmp_path_factory.mktemp("retrieval") / "lake") as shared:
        yield shared
