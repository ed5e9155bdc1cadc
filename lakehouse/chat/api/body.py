"""A request's body: received up to a limit, decoded into the shape that a route takes.

Whatever is wrong with it becomes an `ErrBadRequest` or `ErrTooLarge` that says what and where.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec
from quart import Request
from quart.blueprints import BlueprintSetupState
from werkzeug.exceptions import RequestEntityTooLarge

from lakehouse.errors import ErrBadRequest, ErrTooLarge

T = TypeVar("T")


def bounded(limit: int) -> Callable[[BlueprintSetupState], None]:
    """For a blueprint to record: its application keeps no more than `limit` bytes of any request's body."""

    def setup(state: BlueprintSetupState) -> None:
        state.app.config["MAX_CONTENT_LENGTH"] = limit

    return setup


async def receive(request: Request, limit: int) -> bytes:
    """The whole body, at most `limit` bytes of it; raises `ErrTooLarge` as soon as it is known to be longer.

    `bounded` is what limits the buffer while the body arrives: Quart receives without waiting for its reader.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise ErrBadRequest(f"the body is compressed (Content-Encoding: {encoding[:40]}): send it as plain JSON")
    try:
        body: bytes = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    except RequestEntityTooLarge:
        raise too_large(limit) from None
    if len(body) > limit:
        raise too_large(limit)
    return body


def too_large(limit: int) -> ErrTooLarge:
    """The refusal of a longer body; the limit is told in bytes, for that is what a client can count."""
    return ErrTooLarge(f"the body is larger than {limit} bytes, the limit of this service (chatd.max_body)")


def decode(body: bytes, shape: type[T]) -> T:
    """The body as `shape`; raises `ErrBadRequest` naming the field that does not fit."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise misfit(error) from None
    except msgspec.DecodeError as error:
        if not body.strip():
            raise ErrBadRequest("the body is empty: a JSON object is expected") from None
        what = str(error).removeprefix("JSON is malformed: ").replace("Input data was truncated", "it ends too early")
        raise ErrBadRequest(f"the body is not JSON: {what}") from None
    except UnicodeDecodeError:
        raise ErrBadRequest("the body is not UTF-8") from None
    except RecursionError:
        raise ErrBadRequest("the body is not acceptable: its values are nested too deeply") from None


_PLACE = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)
_MEMBER = re.compile(r"Object (?P<what>missing required|contains unknown) field `(?P<name>.*)`", re.DOTALL)


def misfit(error: msgspec.ValidationError) -> ErrBadRequest:
    """What msgspec found, with the field's path in front: ``messages[0].role``."""
    found = _PLACE.fullmatch(str(error))
    what, path = (found["what"], found["path"] or "") if found else (str(error), "")
    member = _MEMBER.fullmatch(what)
    if member:
        path = f"{path}.{member['name']}".lstrip(".")
        what = "is required" if member["what"] == "missing required" else "is not a field of this request"
        return ErrBadRequest(f"`{path}` {what}", field=path)
    if not path:
        own_word = re.match(r"`([\w.\[\]]+)` ", what)  # the shapes' own checks name their field first
        return ErrBadRequest(
            what if own_word else f"the body does not fit: {what[0].lower()}{what[1:]}",
            field=own_word[1] if own_word else None,
        )
    return ErrBadRequest(f"`{path}` does not fit: {what[0].lower()}{what[1:]}", field=path)
