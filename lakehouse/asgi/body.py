"""A request's body: received up to a limit, decoded into the shape that a route takes.

Whatever is wrong with it becomes an `ErrBadRequest` or `ErrTooLarge` that says what and where, and one that does not
arrive in time an `ErrTimeout`.
"""

from __future__ import annotations

import re
import sys
from codecs import BOM_UTF8
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Any, TypeVar

import msgspec
import trio

from lakehouse.asgi.types import Receive
from lakehouse.config.files import other_encoding
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrBadRequest, ErrTimeout, ErrTooLarge

T = TypeVar("T")


class PulledBody:
    """A body that is received as it is awaited, so that its sender waits for its reader; stands in for Quart's.

    Quart's own takes in what comes, whether or not anybody wants it.
    """

    def __init__(self, receive: Receive, limit: int | None) -> None:
        self._receive = receive
        self._limit = sys.maxsize if limit is None else limit

    def __await__(self) -> Generator[Any, None, bytes]:
        return read_body(self._receive, self._limit).__await__()

    def clear(self) -> None:
        """Nothing is kept."""


async def read_body(receive: Receive, limit: int) -> bytes:
    """Receive a whole request body, of at most `limit` bytes.

    Raises `ErrTooLarge` as soon as the body is longer, with no more than `limit` bytes kept, and
    `ConnectionResetError` when the server reports that the client left before the end of the body.
    """
    parts: list[bytes] = []
    left = limit
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the client left before the end of its request's body")
        part: bytes = message.get("body", b"")
        left -= len(part)
        if left < 0:
            raise ErrTooLarge(f"the request's body is larger than {limit} bytes")
        if not message.get("more_body", False):
            return b"".join(parts) + part if parts else part
        parts.append(part)


async def read_json_body(headers: Iterable[tuple[bytes, bytes]], receive: Receive, limit: int) -> bytes:
    """The whole body, at most `limit` bytes of it; raises `ErrTooLarge` as soon as it is known to be longer.

    `headers` have lower-case names.
    """
    fields = dict(headers)
    length = fields.get(b"content-length", b"")
    acceptable(fields.get(b"content-encoding", b"identity").decode("latin-1"), length, limit)
    try:
        return await read_body(receive, limit)
    except ErrTooLarge:
        raise too_large(limit) from None


async def read_in_time(read: Callable[[], Awaitable[bytes]], timeout: float, context: RequestContext | None) -> bytes:
    """What `read` gives, a request's body, within the deadline of the whole call: `timeout` seconds from the beginning
    of the flight, from now without one. Raises `ErrTimeout`, and what `read` raises."""
    began = trio.current_time() if context is None else context.started
    before = inf
    with trio.CancelScope(deadline=began + timeout):
        if context is not None:
            before = context.shorten_deadline(began + timeout)  # for the list of active requests
        try:
            return await read()
        finally:
            if context is not None:
                context.restore_deadline(before)
    message = f"timeout: the body of the request did not arrive within {timeout:g} s (chatd.timeout)"
    raise ErrTimeout(message, error_class="timeout", retryable=True)


def acceptable(encoding: str, length: bytes, limit: int) -> None:
    """Nothing, when a body of this Content-Encoding and Content-Length may come."""
    if encoding.lower() != "identity":
        raise ErrBadRequest(f"the body is compressed (Content-Encoding: {encoding[:40]}): send it as plain JSON")
    if length.isdigit() and int(length) > limit:
        raise too_large(limit)


def too_large(limit: int) -> ErrTooLarge:
    """The refusal of a longer body; the limit is told in bytes, for that is what a client can count."""
    return ErrTooLarge(f"the body is larger than {limit} bytes, the limit of this service (chatd.max_body)")


def decode(body: bytes, shape: type[T]) -> T:
    """The body as `shape`; raises `ErrBadRequest` naming the field that does not fit.

    A byte order mark at the beginning is ignored, as RFC 8259 (8.1) allows.
    """
    body = body.removeprefix(BOM_UTF8)
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise validation_error(str(error)) from None
    except msgspec.DecodeError as error:
        if not body.strip():
            raise ErrBadRequest("the body is empty: a JSON object is expected") from None
        if (encoding := other_encoding(body)) is not None:
            raise ErrBadRequest(f"the body is not JSON: it is {encoding}, and JSON is sent as UTF-8") from None
        early = "it ends too early"
        if b"\\ud" in body[-16:].lower():  # msgspec looks for the other half behind the end
            early = "a string in it ends with half of a surrogate pair"
        what = str(error).removeprefix("JSON is malformed: ").replace("Input data was truncated", early)
        raise ErrBadRequest(f"the body is not JSON: {what}") from None
    except UnicodeDecodeError:
        raise ErrBadRequest("the body is not UTF-8") from None
    except RecursionError:
        raise too_deep() from None


def fit(value: object, shape: type[T]) -> T:
    """A decoded value as `shape`; raises like `decode`."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise validation_error(str(error)) from None
    except RecursionError:
        raise too_deep() from None


@contextmanager
def validation_errors(path: str = "") -> Iterator[None]:
    """Inside, a shape is made in code: what it finds wrong with itself is the caller's mistake, at `path`."""
    try:
        yield
    except ValueError as error:
        raise validation_error(f"{error} - at `$.{path}`" if path else str(error)) from None


def too_deep() -> ErrBadRequest:
    """The refusal of brackets in brackets in brackets."""
    return ErrBadRequest("the body is not acceptable: its values are nested too deeply")


SHOWN = 160
"""Characters of a field's name, and of what is wrong with it, that an error repeats: either may be the whole body."""

_MEMBER = re.compile(r"Object (?P<what>missing required|contains unknown) field `(?P<name>.*)`", re.DOTALL)
_OWN_WORD = re.compile(r"`(?P<path>[^`]+)` .*", re.DOTALL)  # the shapes' own checks name their field first


def validation_error(found: str) -> ErrBadRequest:
    """What msgspec found, in our words and with the field's path in front: `messages[0].role`."""
    what, _, path = found.rpartition(" - at `$") if found.endswith("`") and " - at `$" in found else (found, "", "")
    path = path.removesuffix("`").removeprefix(".")
    if member := _MEMBER.fullmatch(what):
        path = _shown(f"{path}.{member['name']}".lstrip("."))
        verdict = "is required" if member["what"] == "missing required" else "is not a field of this request"
        return ErrBadRequest(f"`{path}` {verdict}", field=path)
    said = _shown(what[0].lower() + what[1:])
    if path:
        return ErrBadRequest(f"`{_shown(path)}` does not fit: {said}", field=_shown(path))
    if own := _OWN_WORD.fullmatch(what):
        return ErrBadRequest(_shown(what), field=_shown(own["path"]))
    return ErrBadRequest(f"the body does not fit: {said}")


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
