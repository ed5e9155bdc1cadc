"""The data services that an ask calls, in one scripted upstream: corpora, passages, tables and rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from lakehouse.services.host.names import SERVICES
from lakehouse.testing.upstreams import ReceivedRequest, ScriptedUpstream, open_upstream, respond

Document = dict[str, object]

HERON: Document = {
    "n": 1,
    "corpus": "birds",
    "id": "heron.md#1",
    "text": "A heron stands still in shallow water.",
    "distance": 0.21,
    "metadata": {"source": "heron.md", "page": 3},
}
PLOVER: Document = {
    "n": 2,
    "corpus": "birds",
    "id": "plover.md#4",
    "text": "A plover runs, stops and pecks.",
    "distance": 0.34,
    "metadata": {"source": "plover.md"},
}
MANIFEST: Document = {
    "name": "teams",
    "columns": [{"name": "team", "type": "VARCHAR"}, {"name": "budget", "type": "DOUBLE"}],
    "row_count": 5,
    "snapshot_id": "8123456789012345678",
}


@dataclass
class ScriptedRetrieval:
    """What the services answer. `hold` are paths that do not answer until their client leaves."""

    passages: list[Document] = field(default_factory=lambda: [HERON, PLOVER])
    corpora: list[Document] = field(
        default_factory=lambda: [
            {"name": "birds", "model": "wordllama-256", "length": 2},
            {"name": "raw", "model": None, "length": 9},
            {"name": "playbook_memory", "model": "wordllama-256", "length": 1},
        ]
    )
    failed: dict[str, object] = field(default_factory=dict)
    rows: list[list[object]] = field(default_factory=lambda: [[2, 1.5, "search", "0.25"]])
    failures: dict[str, bytes] = field(default_factory=dict)
    hold: set[str] = field(default_factory=set)
    upstream: ScriptedUpstream = field(default_factory=lambda: ScriptedUpstream(""))
    reached: trio.Event = field(default_factory=trio.Event)
    left: trio.Event = field(default_factory=trio.Event)

    def requests(self, path: str) -> list[ReceivedRequest]:
        """What was asked of one path."""
        return [request for request in self.upstream.requests if request.target == path]

    @property
    def urls(self) -> dict[str, str]:
        """The keys of `[gateway]` that lead here."""
        return {f"{name}_url": self.upstream.url for name in SERVICES}

    async def answer(self, request: ReceivedRequest, stream: trio.SocketStream) -> None:
        path = request.target
        if path in self.hold:
            self.reached.set()
            try:
                await stream.receive_some()
            finally:
                self.left.set()
            return
        await stream.send_all(self.failures.get(path) or respond(self._document(path)))

    def _document(self, path: str) -> Document:
        if path == "/matrix/context":
            text = "\n".join(f"[{one['n']}] {one['text']}" for one in self.passages)
            return {"passages": list(self.passages), "text": text, "failed": self.failed}
        if path == "/matrix/corpora":
            return {"indexes": self.corpora, "count": len(self.corpora)}
        if path == "/sql":
            return {"columns": [], "rows": self.rows, "row_count": len(self.rows), "truncated": False}
        return MANIFEST


@asynccontextmanager
async def open_retrieval() -> AsyncIterator[ScriptedRetrieval]:
    """The services for the block."""
    services = ScriptedRetrieval()

    async with open_upstream(services.answer) as services.upstream:
        yield services
