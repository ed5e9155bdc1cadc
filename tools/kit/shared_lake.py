"""One lake for a module of tests: its server runs in a thread, and the tests talk to it with a blocking client."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import trio

from lakehouse.config import IngestdTable
from tools.kit.ingest_server import open_ingest_server


@dataclass(frozen=True)
class SharedLake:
    """A running lake. `t` is a table of the test's own: its real name has a number."""

    http: httpx.Client
    directory: Path
    port: int
    table: str = "t"
    numbers: Any = field(default_factory=lambda: count(1))

    def with_new_table(self) -> SharedLake:
        """The same lake, with another table as `t`."""
        return replace(self, table=f"t{next(self.numbers)}")

    def send(
        self,
        name: str,
        body: bytes,
        *,
        file: str | None = None,
        content_type: str = "application/octet-stream",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        **parameters: str,
    ) -> httpx.Response:
        """Upload a file: as a form if it has a name, else as the raw body."""
        name = self.table if name == "t" else name
        path = f"/ingest?{httpx.QueryParams({'name': name, **(query or {}), **parameters})}"
        if file is None:
            return self.http.post(path, content=body, headers={"Content-Type": content_type, **(headers or {})})
        return self.http.post(path, files={"file": (file, body, content_type)}, headers=headers)

    def ask(self, sql: str) -> list[list[Any]]:
        """The rows of a SELECT."""
        answer = self.http.post("/sql", json={"sql": re.sub(r"\bFROM t\b", f"FROM {self.table}", sql)})
        document = answer.json()
        assert answer.status_code == 200, document
        rows: list[list[Any]] = document["rows"]
        return rows

    def exists(self) -> bool:
        """Whether there is a table `t`."""
        return self.http.post("/sql", json={"sql": f"SELECT 1 FROM {self.table}"}).status_code == 200

    def exchange(self, *parts: bytes) -> bytes:
        """Send parts on a connection of their own, and read the head and the body of the response."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            for part in parts:
                connection.sendall(part)
            answer = b""
            while not _is_whole(answer):
                piece = connection.recv(65536)
                if not piece:
                    break
                answer += piece
        return answer

    def staged(self) -> list[Path]:
        """What is in the staging folder."""
        return list((self.directory / "staging").iterdir())


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    return bool(end) and length is not None and len(body) >= int(length[1])


@contextmanager
def open_shared_lake(folder: Path, table: IngestdTable | None = None) -> Iterator[SharedLake]:
    """Serve the lake in `folder` from a thread, for the length of the block."""
    with ThreadPoolExecutor(1) as executor:
        started: list[tuple[str, trio.lowlevel.TrioToken, trio.Event]] = []
        running = threading.Event()

        async def serve() -> None:
            stop = trio.Event()
            async with open_ingest_server(folder, table) as server:
                started.append((str(server.http.base_url), trio.lowlevel.current_trio_token(), stop))
                running.set()
                await stop.wait()

        future = executor.submit(trio.run, serve)
        future.add_done_callback(lambda _: running.set())
        running.wait()
        if not started:
            future.result()
        ((url, token, stop),) = started
        try:
            with httpx.Client(base_url=url, trust_env=False, timeout=60) as http:
                yield SharedLake(http, folder, int(url.rstrip("/").rpartition(":")[2]))
        finally:
            token.run_sync_soon(stop.set)
            future.result()
