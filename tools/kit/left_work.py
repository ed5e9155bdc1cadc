"""Work of a lake that its clients leave: searches, batches of texts, syncs; and how long its processes go on after that.

The clients are blocking sockets: a connection is closed while its request is answered, and nothing else happens in the
process that watches. The service may have a process of its own for every part; all of them count.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

QUIET = 0.03
"""Seconds without work after which processes count as idle."""
STEP, NOISE = 0.002, 0.0005
"""Seconds between two looks at the processes, and the processor time between them that is timers and no work."""
LIMIT = 0.1
"""Seconds after which everything must be idle."""
NEVER = 10.0
TIMEOUT = 120.0

BATCH = 5_000
TABLE, INDEX = "rows", "texts"
WORDS = [f"{begin}{end}" for begin in ("lake", "table", "index", "river", "stone", "cloud") for end in "abcdefghijklm"]


class Rest(NamedTuple):
    """What processes did after they were left: the seconds until their last work, and their processor time."""

    seconds: float
    cpu: float


@dataclass(frozen=True, kw_only=True)
class LakeClient:
    """A lake's address, and its token if it has one."""

    port: int
    token: str = ""

    def make(self, path: str, document: object) -> bytes:
        """A request with its head."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    @contextmanager
    def send(self, requests: Sequence[bytes]) -> Iterator[list[socket.socket]]:
        """Send each request over a connection of its own, which ends with the block."""
        with ExitStack() as stack:
            connections = []
            for each in requests:
                connection = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)
                stack.enter_context(closing(connection)).sendall(each)
                connections.append(connection)
            yield connections

    def finish(self, requests: Sequence[bytes], *, status: int = 200) -> float:
        """Send the requests, and wait for the heads of their answers. Returns the seconds until the last one."""
        began = time.perf_counter()
        with self.send(requests) as connections:
            for connection in connections:
                answer = connection.recv(65536)
                if not answer.startswith(b"HTTP/1.1 %d " % status):
                    raise RuntimeError(f"a request failed: {answer[:2000].decode(errors='replace')}")
        return time.perf_counter() - began

    def leave(self, requests: Sequence[bytes], pid: int, *, after: float) -> Rest:
        """Send the requests to a service, and close their connections so many seconds later."""
        wait_idle(pid)
        with self.send(requests):
            time.sleep(after)
        return wait_idle(pid)

    def create_index(self, name: str) -> None:
        """An empty index of texts."""
        self.finish([self.make("/v1/vectors/index", {"name": name, "model": "default"})], status=201)

    def fill(self, rows: int) -> None:
        """The index `INDEX`, and the table `TABLE` with the same texts."""
        self.create_index(INDEX)
        lines = list[str]()
        for start in range(0, rows, BATCH):
            items = [make_item(number) for number in range(start, min(rows, start + BATCH))]
            self.finish([self.make(f"/v1/vectors/index/{INDEX}/add", {"items": items})])
            lines += [
                json.dumps({"id": item["id"], "text": item["text"], "n": item["metadata"]["n"]}) for item in items
            ]
        upload = self.make(f"/v1/ingest?name={TABLE}&format=ndjson", "\n".join(lines).encode())
        self.finish([upload.replace(b"application/json", b"application/octet-stream", 1)], status=201)


@dataclass(frozen=True, kw_only=True)
class Work:
    """One kind of work. `begin` makes the requests of a round, which differ from those of any other."""

    name: str
    begin: Callable[[LakeClient, int], Sequence[bytes]]


def make_work(*, searches: int = 60, texts: int = 4_000) -> Iterator[Work]:
    """Work with the model of the engine: searches that nothing keeps, a batch of texts of 100 words, a sync."""

    def search(client: LakeClient, number: int) -> Sequence[bytes]:
        queries = [make_text(1_000_000 + number * searches + each, 8) for each in range(searches)]
        common = {"corpora": [INDEX], "mode": "hybrid", "k": 100}
        return [client.make("/v1/matrix/search", {**common, "query_text": text}) for text in queries]

    def embed(client: LakeClient, number: int) -> Sequence[bytes]:
        batch = [make_text(2_000_000 + number * texts + each, 100) for each in range(texts)]
        return [client.make("/v1/embed", {"texts": batch, "encoding": "base64"})]

    def sync(client: LakeClient, number: int) -> Sequence[bytes]:
        client.create_index(f"synced{number}")
        how = {"table": TABLE, "key": "id", "text": "text", "metadata": ["n"]}
        return [client.make(f"/v1/vectors/index/synced{number}/sync", how)]

    yield Work(name=f"{searches} searches", begin=search)
    yield Work(name=f"a batch of {texts:,} texts", begin=embed)
    yield Work(name="a sync", begin=sync)


def make_slow_batch(model: str, texts: int = 20) -> Work:
    """A batch of texts of 250 tokens, for a model that reads sentences."""

    def embed(client: LakeClient, number: int) -> Sequence[bytes]:
        batch = [f"{number} {each} {'quick brown fox ' * 82}" for each in range(texts)]
        return [client.make("/v1/embed", {"texts": batch, "model": model, "encoding": "base64"})]

    return Work(name=f"a batch of {texts} texts, {model}", begin=embed)


def make_text(number: int, words: int) -> str:
    """A text of its own for each number."""
    return " ".join(WORDS[(number * 31 + at * (number % 17 + 1)) % len(WORDS)] for at in range(words)) + f" n{number}"


def make_item(number: int) -> dict[str, Any]:
    """An item of an index, whose text has twenty words."""
    return {"id": f"{number:07}", "text": make_text(number, 20), "metadata": {"n": number}}


def wait_idle(pid: int) -> Rest:
    """Wait until neither a process nor one below it has worked for `QUIET` seconds."""
    times = _ThreadTimes(pid)
    began = last = time.perf_counter()
    worked = 0.0
    while time.perf_counter() - last < QUIET and time.perf_counter() - began < NEVER:
        time.sleep(STEP)
        work = times.look()
        worked += work
        if work > NOISE:
            last = time.perf_counter()
    return Rest(last - began, worked)


class _ThreadTimes:
    """The processor time of all threads of a process and of those below it, also of processes that start meanwhile."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._times: dict[Path, int] = {}
        self.look()

    def look(self) -> float:
        """Seconds of processor time since the last look."""
        spent = 0
        for thread in _list_threads(self._pid):
            with suppress(OSError):
                time_now = int((thread / "schedstat").read_bytes().split()[0])
                spent += time_now - self._times.get(thread, 0)
                self._times[thread] = time_now
        return spent / 1e9


def _list_threads(pid: int) -> Iterator[Path]:
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            yield thread
            for child in (thread / "children").read_text().split():
                yield from _list_threads(int(child))
