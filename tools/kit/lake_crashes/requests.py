"""Requests to the service that may be killed meanwhile, and how they end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

import httpx
import trio

from tools.kit.lake_crashes.service import LakeService

REQUEST_TIMEOUT = 60.0
"""Seconds after which a request that has no answer is a fault."""
RECOVERY_TIMEOUT = 60.0
"""Seconds within which the service must answer again."""
LARGE = 64 * 1024
"""Bytes of a body that is sent slowly, in pieces."""

ENGINE_ENDED = b"engine ended while"
"""Words of the 422 that says that an engine ended: a kill looks the same as a limit that the kernel enforces."""

Ending = Literal["acknowledged", "refused", "unknown", "unsent"]
"""How a request ended. `unknown`: a lost connection, 5xx, or an engine that ended. `unsent`: no process received it."""


class NoAnswer(Exception):
    """The service did not answer within the time that it has."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request."""

    method: str
    path: str
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """How a request ended, and the response if there was one."""

    ending: Ending
    status: int = 0
    body: bytes = b""
    etag: str = ""

    def json(self) -> Any:
        """The decoded body."""
        return httpx.Response(self.status, content=self.body).json()

    def __str__(self) -> str:
        return f"{self.ending} {self.status} {self.body[:300]!r}"


class LakeClient:
    """Sends requests to whichever process of the service runs at present."""

    def __init__(self, service: LakeService, http: httpx.AsyncClient) -> None:
        self._service = service
        self._http = http
        self.recovery_timeout = RECOVERY_TIMEOUT
        """Seconds within which the service must answer `read`, whatever is killed meanwhile."""

    async def send(self, request: Request) -> Reply:
        """Send a request once, and write down how it ended. Raises NoAnswer if it hangs."""
        began = trio.current_time()
        reply = await self._send(request)
        self._service.trace(f"{began:.3f} {request.method} {request.path} {reply}")
        return reply

    async def _send(self, request: Request) -> Reply:
        with trio.move_on_after(REQUEST_TIMEOUT):
            try:
                response = await self._http.send(_make_http_request(request, self._service.url))
            except httpx.ConnectError:
                return Reply("unsent")
            except httpx.TransportError:
                return Reply("unknown")
            if response.status_code in (502, 503, 504) or ENGINE_ENDED in response.content[:1000]:
                ending: Ending = "unknown"
            else:
                ending = "acknowledged" if response.is_success else "refused"
            return Reply(ending, response.status_code, response.content, response.headers.get("etag", ""))
        raise NoAnswer(f"{request.method} {request.path} had no answer in {REQUEST_TIMEOUT:g} s")

    async def read(self, request: Request) -> Reply:
        """Send a request that changes nothing, or the same thing each time, until it is answered. Raises NoAnswer."""
        reply = Reply("unsent")
        with trio.move_on_after(self.recovery_timeout):
            while True:
                reply = await self.send(request)
                if reply.ending in ("acknowledged", "refused"):
                    return reply
                await trio.sleep(0.02)
        raise NoAnswer(f"{request.method} {request.path} failed for {self.recovery_timeout:g} s, at last with {reply}")


class _Body(httpx.AsyncByteStream):
    """A body, in pieces if it is large, so that a kill can meet it half sent.

    It is no generator, which would complain if a lost connection left it half read.
    """

    def __init__(self, content: bytes) -> None:
        self._pieces = iter([content[start : start + LARGE] for start in range(0, len(content), LARGE)])
        self._delay = 0.005 if len(content) > LARGE else 0

    def __aiter__(self) -> _Body:
        return self

    async def __anext__(self) -> bytes:
        await trio.sleep(self._delay)
        try:
            return next(self._pieces)
        except StopIteration:
            raise StopAsyncIteration from None


def _make_http_request(request: Request, url: str) -> httpx.Request:
    headers = {"host": "lake", **request.headers}
    if request.content or request.method in ("POST", "PUT"):
        headers["content-length"] = str(len(request.content))
    return httpx.Request(request.method, url + request.path, stream=_Body(request.content), headers=headers)


def make_sql(statement: str, snapshot: str = "") -> Request:
    """A query, whose result is JSON."""
    document = {"sql": statement} | ({"snapshot": snapshot} if snapshot else {})
    return make_json("POST", "/v1/sql", document)


def make_json(method: str, path: str, document: object) -> Request:
    """A request with a JSON body."""
    content = httpx.Request("POST", "http://x", json=document).read()
    return Request(method, path, content, {"content-type": "application/json"})


def make_ingest(name: str, csv: bytes, *, mode: str, key: str = "", columns: str = "") -> Request:
    """An upload of CSV; `key` is its Idempotency-Key, `columns` the key of an upsert."""
    path = f"/v1/ingest?name={quote(name, safe='')}&mode={mode}" + (f"&key={columns}" if columns else "")
    return Request("POST", path, csv, {"content-type": "text/csv"} | ({"idempotency-key": key} if key else {}))


def make_table_request(method: str, name: str, verb: str = "", document: object = None) -> Request:
    """A request about a table of the catalog."""
    path = f"/v1/catalog/tables/{quote(name, safe='')}" + (f"/{verb}" if verb else "")
    return Request(method, path) if document is None else make_json(method, path, document)
