"""A JSON client of a vector store's server, over the service's own HTTP client.

All calls may be repeated: what they write, they write by ids that the caller has chosen. So a call whose answer is
lost, or that finds the server busy, is sent again, at most `ATTEMPTS` times. Redirects are not followed, since the key
would go along. Every call ends with its cancel scope.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import trio

from lakehouse.config.urls import SHORTEST_SECRET
from lakehouse.core.errors import ErrTimeout, ErrUnavailable, ErrUpstream, LakehouseError
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.http1.response import UpstreamResponse
from lakehouse.upstream.pool import Upstream

CONNECT_TIMEOUT, RESPONSE_TIMEOUT, IDLE_TIMEOUT = 3.0, 20.0, 20.0
"""Seconds. An exact search in millions of vectors answers late."""
ATTEMPTS = 3
FIRST_PAUSE = 0.1
"""Seconds before the second attempt; twice as many before the third one."""
RETRY_AFTER = 2.0
MAX_CONNECTIONS, MAX_WAITING = 32, 1024
MAX_ANSWER = 256 * 2**20
"""Bytes of an answer: the texts and vectors of all that was asked for."""

T = TypeVar("T")
_NOTHING = b""


class Refused(Exception):
    """The server refuses a request with 400, 404, 409, 413 or 422; the text is its sentence, without secrets."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Error(msgspec.Struct):
    """The errors of both servers: Qdrant's `status.error`, Chroma's `message`."""

    status: Any = None
    message: str = ""

    @property
    def text(self) -> str:
        inner = self.status.get("error") if isinstance(self.status, dict) else None
        return str(inner or self.message)


class StoreClient:
    """The server of a vector store. It opens no connection before the first call."""

    def __init__(self, url: str, *, name: str, key_field: str, load_key: Callable[[], str]) -> None:
        """`name` is for errors, as in "the vector store at http://host:1". `load_key` gives the key that is sent in the
        header `key_field`, an empty text for none; it is asked before each attempt."""
        self.name = name
        self._key_field = key_field.encode()
        self._load_key = load_key
        self._upstream = Upstream(
            url,
            name=name,
            max_connections=MAX_CONNECTIONS,
            max_waiting=MAX_WAITING,
            connect_timeout=CONNECT_TIMEOUT,
            response_timeout=RESPONSE_TIMEOUT,
            idle_timeout=IDLE_TIMEOUT,
        )
        self._base = self._upstream.base_path.rstrip(b"/")

    def close(self) -> None:
        """Close the idle connections."""
        self._upstream.close()

    async def call(self, method: str, target: str, shape: type[T], document: object = None) -> T:
        """Send a document, and decode that of the answer.

        Raises Refused, ErrUpstream, ErrUnreached, ErrUnavailable, ErrTimeout.
        """
        body = _NOTHING if document is None else msgspec.json.encode(document)
        status, content = await self._repeat(method, target, body)
        if content is None:
            raise self.make_error(f"answered with more than {MAX_ANSWER} bytes")
        if status >= 300:
            raise self._make_failure(status, content)
        try:
            return msgspec.json.decode(content, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ErrUpstream(
                f"{self.name} answered with a document that is not understood: {str(error)[:200]}", provider=self.name
            ) from None

    async def _repeat(self, method: str, target: str, body: bytes) -> tuple[int, bytes | None]:
        for attempt in range(ATTEMPTS):
            if attempt:
                await trio.sleep(FIRST_PAUSE * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))  # noqa: S311
            last = attempt == ATTEMPTS - 1
            try:
                status, content = await self._send(method, target, body)
            except ErrUpstream:  # not ErrTimeout: the caller has waited long enough
                if last:
                    raise
            else:
                if last or not _is_passing(status):
                    return status, content
        raise AssertionError("the last attempt returns or raises")

    async def _send(self, method: str, target: str, body: bytes) -> tuple[int, bytes | None]:
        """Status and content of an answer; None for a content that is too long."""
        fields = [(b"content-type", b"application/json")] if body else []
        key = self._load_key()
        if key:
            fields.append((self._key_field, key.encode("latin-1", "replace")))
        request = UpstreamRequest(method.encode(), self._base + target.encode(), fields, body or None)
        with await self._upstream.send(request) as response:
            return response.status, await _read(response)

    def _make_failure(self, status: int, content: bytes) -> Exception:
        sentence, key = _read_sentence(content), self._load_key()
        if len(key) >= SHORTEST_SECRET:
            sentence = sentence.replace(key, "***")
        if status in (400, 404, 409, 413, 422):
            return Refused(status, sentence)
        what = f"{status}: {sentence}" if sentence else f"status {status}"
        if status == 408:
            return ErrTimeout(f"{self.name} has given up a request ({what})", provider=self.name)
        if _is_passing(status):
            return ErrUnavailable(
                f"{self.name} is busy or failed ({what})",
                provider=self.name,
                retryable=True,
                retry_after=RETRY_AFTER,
                upstream_status=status,
            )
        if status in (401, 403):
            what = f"refuses the key ({what}); see lake.key_file"
        elif status < 400:
            what = f"answers with a redirect ({status}), which is not followed; see vectord.store"
        else:
            what = f"refused a request ({what})"
        return self.make_error(what, status)

    def make_error(self, what: str, status: int | None = None) -> LakehouseError:
        """The error of a server that does something else than it should: "refused a request"."""
        return ErrUpstream(f"{self.name} {what}", provider=self.name, upstream_status=status)


def _is_passing(status: int) -> bool:
    return status in (429, 500, 502, 503, 504)


def _read_sentence(content: bytes) -> str:
    """What the server says of its failure: in JSON, or as text."""
    try:
        found = msgspec.json.decode(content, type=_Error).text
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = content[:1000].decode("utf-8", "replace") if not content.lstrip().startswith(b"<") else ""
    return " ".join(found.split())[:300]


async def _read(response: UpstreamResponse) -> bytes | None:
    pieces: list[bytes] = []
    size = 0
    while data := await response.receive():
        size += len(data)
        if size > MAX_ANSWER:
            return None
        pieces.append(data)
    return b"".join(pieces)
