"""JSON in request bodies: decoded into typed structs, with errors that name the field at fault."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from lakehouse.asgi.body import BodyLimits, receive_body
from lakehouse.asgi.types import Receive, Scope
from lakehouse.config.files import other_encoding
from lakehouse.core.errors import ErrBadRequest, ErrUnsupportedMediaType

T = TypeVar("T")

_JSON_TYPE = re.compile(
    rb"[ \t]*(application/json|[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.-]*\+json|application/x-www-form-urlencoded)"
    rb"[ \t]*(;.*)?",
    re.IGNORECASE,
)
"""The types that are decoded as JSON. The last one is what `curl -d` sends unless told otherwise."""


async def receive_json(scope: Scope, receive: Receive, shape: type[T], limits: BodyLimits) -> T:
    """Receive a JSON body as `shape`.

    Raises `ErrUnsupportedMediaType` for a Content-Type that is not JSON, and the errors of `receive_body` and
    `decode_json`.
    A body without a type, or with that of `curl -d`, is decoded as JSON.
    """
    return decode_json(await receive_json_bytes(scope, receive, limits), shape)


async def receive_json_bytes(scope: Scope, receive: Receive, limits: BodyLimits) -> bytes:
    """Receive a body that is said to be JSON, for a decoder of the caller's own. Raises as `receive_json`."""
    types = [value for name, value in scope["headers"] if name == b"content-type"]
    if types and not _JSON_TYPE.fullmatch(types[0]):
        shown = types[0][:80].decode("latin-1")
        raise ErrUnsupportedMediaType(f"the body must be JSON, not {shown!r}", accepted=("application/json",))
    return await receive_body(scope, receive, limits)


def decode_json(body: bytes, shape: type[T]) -> T:
    """Decode a body as `shape`. Raises `ErrBadRequest`, naming the field that does not fit.

    A byte order mark at the beginning is ignored, as RFC 8259 (8.1) allows.
    """
    body = body.removeprefix(BOM_UTF8)
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise explain_mismatch(str(error)) from None
    except msgspec.DecodeError as error:
        if not body.strip():
            raise ErrBadRequest("the body is empty: a JSON object is expected") from None
        if (encoding := other_encoding(body)) is not None:
            raise ErrBadRequest(f"the body is not JSON: it is {encoding}, and JSON is sent as UTF-8") from None
        if "UTF-8" in str(error):  # msgspec 0.23; a former one raises UnicodeDecodeError
            raise _not_utf8() from None
        truncated = "it ends too early"
        if b"\\ud" in body[-16:].lower():  # msgspec looks for the other half of the pair behind the end
            truncated = "a string in it ends with half of a surrogate pair"
        what = str(error).removeprefix("JSON is malformed: ").replace("Input data was truncated", truncated)
        raise ErrBadRequest(f"the body is not JSON: {what}") from None
    except UnicodeDecodeError:
        raise _not_utf8() from None
    except RecursionError:
        raise _too_deep() from None


def convert_json(value: object, shape: type[T], path: str = "") -> T:
    """Convert a decoded value to `shape`; `path` is where it stands in the body. Raises what `decode_json` raises."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        message = str(error)
        if path:
            what, separator, below = message.rpartition(" - at `$")
            message = f"{what}{separator}.{path}{below}" if separator else f"{message} - at `$.{path}`"
        raise explain_mismatch(message) from None
    except RecursionError:
        raise _too_deep() from None


@contextmanager
def validation_errors(path: str = "") -> Iterator[None]:
    """Turn a ValueError of the block, in which a struct is constructed, into an `ErrBadRequest` about `path`."""
    try:
        yield
    except ValueError as error:
        raise explain_mismatch(f"{error} - at `$.{path}`" if path else str(error)) from None


def _not_utf8() -> ErrBadRequest:
    return ErrBadRequest("the body is not UTF-8")


def _too_deep() -> ErrBadRequest:
    return ErrBadRequest("the body is not acceptable: its values are nested too deeply")


MAX_SHOWN = 160
"""Characters of a field's name, and of what is wrong with it, that an error repeats: either may be the whole body."""

_MEMBER = re.compile(r"Object (?P<what>missing required|contains unknown) field `(?P<name>.*)`", re.DOTALL)
_OWN_CHECK = re.compile(r"`(?P<path>[^`]+)` .*", re.DOTALL)  # the structs' own checks begin with their field


def explain_mismatch(message: str) -> ErrBadRequest:
    """Rephrase a message of msgspec, with the path of the field in front: `messages[0].role`."""
    what, path = message, ""
    if message.endswith("`") and " - at `$" in message:
        what, _, path = message.rpartition(" - at `$")
    path = path.removesuffix("`").removeprefix(".")
    if member := _MEMBER.fullmatch(what):
        path = _shorten(f"{path}.{member['name']}".lstrip("."))
        verdict = "is required" if member["what"] == "missing required" else "is not a field of this request"
        return ErrBadRequest(f"`{path}` {verdict}", field=path)
    problem = _shorten(what[0].lower() + what[1:])
    if path:
        return ErrBadRequest(f"`{_shorten(path)}` does not fit: {problem}", field=_shorten(path))
    if own := _OWN_CHECK.fullmatch(what):
        return ErrBadRequest(_shorten(what), field=_shorten(own["path"]))
    return ErrBadRequest(f"the body does not fit: {problem}")


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
