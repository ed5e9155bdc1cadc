"""A server that speaks Trino's protocol as it was recorded from one, with scripted statements and faults.

A statement is known by a word in it. Its pages come one after another under `nextUri`s with a number; a page is
answered again until the next one is asked for, as the server does for a client whose connection broke.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from lakehouse.asgi.types import Receive, Scope, Send

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]


@dataclass
class Statement:
    """A statement that was posted."""

    sql: str
    headers: dict[str, str]
    cancelled: trio.Event = field(default_factory=trio.Event)
    fetched: int = 0
    """The number of requests for its pages."""


def signature(name: str, *arguments: object) -> dict[str, object]:
    """A type as the protocol has it; an argument is a number, a type, or a pair of a field's name and its type."""

    def argument(value: object) -> dict[str, object]:
        if isinstance(value, int):
            return {"kind": "LONG", "value": value}
        if isinstance(value, tuple):
            named = None if value[0] is None else {"name": value[0]}
            return {"kind": "NAMED_TYPE", "value": {"fieldName": named, "typeSignature": value[1]}}
        return {"kind": "TYPE", "value": value}

    return {"rawType": name, "arguments": [argument(value) for value in arguments]}


def column(name: str, kind: dict[str, object]) -> dict[str, object]:
    """A column of an answer."""
    return {"name": name, "type": kind["rawType"], "typeSignature": kind}


BIGINT = column("n", signature("bigint"))


class TrinoStub:
    """The application. `base` is its URL, set when it is served; `faults` are answered before anything else."""

    def __init__(self) -> None:
        self.base = ""
        self.version = "476"
        self.warnings: list[object] = []
        self.statements: list[Statement] = []
        self.faults: list[Answer] = []
        self.tables: dict[str, Callable[[int], Awaitable[dict[str, Any]]]] = {}
        """For a word of a statement, the document of each page, by number; one without "more" is the last."""

    def add(self, word: str, columns: Sequence[dict[str, object]], *pages: Sequence[object]) -> None:
        """A statement that gives these pages of rows, and has ended."""

        async def page(number: int) -> dict[str, Any]:
            await trio.lowlevel.checkpoint()
            if number == 0:
                return {"more": True}
            document: dict[str, Any] = {"columns": columns, "more": number < len(pages)}
            return document | ({"data": pages[number - 1]} if pages else {})

        self.tables[word] = page

    def fail(self, word: str, **error: object) -> None:
        """A statement that fails."""

        async def page(number: int) -> dict[str, Any]:
            await trio.lowlevel.checkpoint()
            return {"more": True} if number == 0 else {"error": error}

        self.tables[word] = page

    @contextmanager
    def faulty(self, *answers: Answer) -> Iterator[None]:
        """Answer the next requests so; all of them must be asked for."""
        self.faults += answers
        yield
        assert self.faults == []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        status, extra, answer = await self._answer(scope["method"], scope["path"], headers, body)
        start = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer)), *extra]
        await send({"type": "http.response.start", "status": status, "headers": start})
        await send({"type": "http.response.body", "body": answer})

    async def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if self.faults:
            return self.faults.pop(0)
        if path == "/v1/info":
            return _json(
                {
                    "nodeVersion": {"version": self.version},
                    "environment": "test",
                    "coordinator": True,
                    "starting": False,
                }
            )
        if method == "POST":
            self.statements.append(Statement(body.decode(), headers))
            return await self._page(len(self.statements) - 1, 0)
        number, page = (int(part) for part in path.removeprefix("/v1/statement/").split("/"))
        statement = self.statements[number]
        if method == "DELETE":
            statement.cancelled.set()
            return 204, [], b""
        statement.fetched += 1
        return await self._page(number, page)

    async def _page(self, number: int, page: int) -> Answer:
        sql = self.statements[number].sql
        known = next((table for word, table in self.tables.items() if word in sql), None)
        document = {"error": {"message": "unknown"}} if known is None else await known(page)
        identity = {"id": f"20260101_000000_0000{number}_stub", "infoUri": f"{self.base}/ui/{number}"}
        stats = {"state": "RUNNING", "processedRows": page, "processedBytes": 10 * page, "physicalInputBytes": 0}
        following = {"nextUri": f"{self.base}/v1/statement/{number}/{page + 1}"} if document.pop("more", False) else {}
        return _json({**identity, **following, "stats": stats, "warnings": self.warnings, **document})


def _json(document: object) -> Answer:
    return 200, [], json.dumps(document).encode()
