"""Small requests to an endpoint that may be anything, each of which is told to the operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import trio

from lakehouse.chat.dialects.errors.redaction import redact_and_truncate
from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, decode_json
from lakehouse.chat.providers.base import ANTHROPIC_VERSION, COMMON, Headers
from lakehouse.core.errors import LakehouseError
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.pool import Upstream

TIMEOUT = 5.0
"""Seconds for one request."""

MAX_ANSWER = 4 * 1024 * 1024
"""Bytes of an answer that are read."""

JSON_TYPE = (b"Content-Type", b"application/json")


@dataclass(frozen=True, slots=True)
class EndpointAnswer:
    """An answer; `status` is 0 if there was none."""

    status: int
    body: bytes

    @property
    def document(self) -> JsonObject:
        """The JSON object in the body, empty for anything else."""
        try:
            return as_object(decode_json(self.body))
        except ValueError:
            return {}


NO_ANSWER = EndpointAnswer(0, b"")


@dataclass(frozen=True, slots=True)
class EndpointClient:
    """Requests to the host of `pool`, with `key` if there is one. `tell` is called with a line for each request."""

    pool: Upstream
    key: str
    tell: Callable[[str], None]

    def bearer(self) -> Headers:
        """The key as most wires have it."""
        return ((b"Authorization", b"Bearer " + self.key.encode()),) if self.key else ()

    def api_key(self) -> Headers:
        """The key as the messages wire has it."""
        key = ((b"x-api-key", self.key.encode()),) if self.key else ()
        return (*key, (b"anthropic-version", ANTHROPIC_VERSION))

    async def get(self, path: str, headers: Headers) -> EndpointAnswer:
        """GET a path."""
        return await self._request(b"GET", path, (*COMMON, *headers), None)

    async def post(self, path: str, headers: Headers, document: JsonObject) -> EndpointAnswer:
        """POST a document to a path."""
        return await self._request(b"POST", path, (*COMMON, JSON_TYPE, *headers), msgspec.json.encode(document))

    async def _request(self, method: bytes, path: str, headers: Headers, body: bytes | None) -> EndpointAnswer:
        shown = f"{method.decode()} {path}"
        with trio.move_on_after(TIMEOUT):
            try:
                with await self.pool.send(UpstreamRequest(method, path.encode(), headers, body)) as response:
                    content = await response.read(MAX_ANSWER)
            except LakehouseError as error:
                self.tell(f"{shown}: {redact_and_truncate(error.message, secrets=(self.key,) if self.key else ())}")
                return NO_ANSWER
            self.tell(f"{shown}: {response.status}")
            return EndpointAnswer(response.status, content)
        self.tell(f"{shown}: no answer within {TIMEOUT:g} s")
        return NO_ANSWER
