"""Servers that need much memory: each is started when a test asks for it, and may be ended before the tests."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import Generic, TypeVar

from tools.kit.scaleout.sail import Sail
from tools.kit.scaleout.spark import Spark

T = TypeVar("T")


class Kept(Generic[T]):
    """A server that runs from the first time it is asked for until it is closed."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._server: T | None = None

    def get(self, opened: AbstractContextManager[T]) -> T:
        """The server; `opened` is entered if none runs."""
        if self._server is None:
            self._server = self._stack.enter_context(opened)
        return self._server

    def close(self) -> None:
        """End the server."""
        self._server = None
        self._stack.close()


class EngineServers:
    """The servers of one process of tests: of engines of SQL, and of lakes that are killed."""

    def __init__(self) -> None:
        self.lakes = ExitStack()
        self.spark = Kept[Spark]()
        self.sail = Kept[Sail]()
        self.flight_sql = Kept[Sail]()

    def close(self) -> None:
        """End them all."""
        for server in (self.spark, self.sail, self.flight_sql):
            server.close()
        self.lakes.close()
