"""JSON bodies of requests: received within limits, decoded into structs, refused with the field at fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
import trio

from lakehouse.asgi.body import BodyLimits, read_body, receive_body
from lakehouse.asgi.json_body import MAX_SHOWN, convert_json, decode_json, receive_json
from lakehouse.asgi.request_scope import REQUEST_KEY
from lakehouse.asgi.types import Message, Receive
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrBadRequest, ErrTimeout, ErrTooLarge, ErrUnsupportedMediaType, LakehouseError

LIMITS = BodyLimits(max_size=64, timeout=5, max_size_key="sql.max_body", timeout_key="sql.timeout")


class Row(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    sizes: list[int] = []

    def __post_init__(self) -> None:
        if self.name == "no":
            raise ValueError("`name` must not be no")


def scope(*headers: tuple[bytes, bytes], **more: Any) -> dict[str, Any]:
    return {"type": "http", "headers": list(headers), **more}


def receiving(*parts: bytes, pause: float = 0.0, end: Message | None = None) -> Receive:
    """A server's `receive` that gives these parts, each after a pause; `end` in place of the last."""
    messages: list[Message] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if end is None:
        messages[-1]["more_body"] = False
    else:
        messages.append(end)

    async def receive() -> Message:
        await trio.sleep(pause)
        return messages.pop(0)

    return receive


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        b"application/json",
        b"application/json; charset=utf-8",
        b"Application/JSON",
        b"application/x.row+json",
        b"application/x-www-form-urlencoded",
    ],
)
async def test_a_body_is_a_struct(content_type: bytes | None) -> None:
    headers = [] if content_type is None else [(b"content-type", content_type)]
    row = await receive_json(scope(*headers), receiving(b'{"name":"a",', b'"sizes":[1]}'), Row, LIMITS)
    assert row == Row("a", [1])


@pytest.mark.parametrize(
    "content_type", [b"text/csv", b"application/jsonx", b"", b"multipart/form-data; x=application/json"]
)
async def test_another_media_type_is_refused_unread(content_type: bytes) -> None:
    async def receive() -> Message:
        raise AssertionError("the body must not be read")

    with pytest.raises(ErrUnsupportedMediaType) as raised:
        await receive_json(scope((b"content-type", content_type)), receive, Row, LIMITS)
    assert raised.value.headers() == [("accept", "application/json")]


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        (b'{"sizes":[]}', "name", "`name` is required"),
        (b'{"name":"a","x":1}', "x", "`x` is not a field of this request"),
        (b'{"name":1}', "name", "`name` does not fit: expected `str`, got `int`"),
        (b'{"name":"a","sizes":[1,"b"]}', "sizes[1]", "`sizes[1]` does not fit: expected `int`, got `str`"),
        (b'{"name":"no"}', "name", "`name` must not be no"),
        (b"[]", None, "the body does not fit: expected `object`, got `array`"),
        (b"", None, "the body is empty: a JSON object is expected"),
        (b" \n", None, "the body is empty: a JSON object is expected"),
        (b'{"name":', None, "the body is not JSON: it ends too early"),
        (b'{"name":"\\ud83d"', None, "the body is not JSON: a string in it ends with half of a surrogate pair"),
        (b"{'name'}", None, "the body is not JSON: "),
        (b'{"name":"\xff"}', None, "the body is not UTF-8"),
        (b"[" * 5000, None, "the body "),
    ],
)
def test_a_body_that_does_not_fit_names_its_field(body: bytes, field: str | None, message: str) -> None:
    with pytest.raises(ErrBadRequest) as raised:
        decode_json(body, Row)
    assert raised.value.message.startswith(message)
    assert raised.value.field == field


def test_a_byte_order_mark_is_ignored() -> None:
    assert decode_json(b'\xef\xbb\xbf{"name":"a"}', Row) == Row("a")


def test_a_decoded_value_is_converted_with_the_same_errors() -> None:
    assert convert_json({"name": "a"}, Row) == Row("a")
    with pytest.raises(ErrBadRequest, match="`name` is required") as raised:
        convert_json({}, Row)
    assert raised.value.field == "name"


def test_an_error_does_not_repeat_the_whole_body() -> None:
    with pytest.raises(ErrBadRequest) as raised:
        decode_json(msgspec.json.encode({"name": "a", "x" * 100_000: 1}), Row)
    assert len(raised.value.message) < 2 * MAX_SHOWN
    assert len(raised.value.field or "") == MAX_SHOWN + 1


@pytest.mark.parametrize(
    ("headers", "parts", "error", "message"),
    [
        ([(b"content-length", b"65")], [b""], ErrTooLarge, "64 bytes, the limit of this service (sql.max_body)"),
        ([], [b"x" * 40, b"x" * 25], ErrTooLarge, "64 bytes, the limit of this service (sql.max_body)"),
        ([(b"content-encoding", b"gzip")], [b""], ErrBadRequest, "the body is compressed (Content-Encoding: gzip)"),
    ],
)
async def test_a_body_beyond_the_limits(
    headers: list[tuple[bytes, bytes]], parts: Sequence[bytes], error: type[LakehouseError], message: str
) -> None:
    with pytest.raises(error) as raised:
        await receive_body(scope(*headers), receiving(*parts), LIMITS)
    assert message in raised.value.message


async def test_a_body_of_the_largest_size_is_taken() -> None:
    headers = ((b"content-length", b"64"), (b"content-encoding", b"identity"))
    assert await receive_body(scope(*headers), receiving(b"x" * 32, b"x" * 32), LIMITS) == b"x" * 64


async def test_a_body_that_comes_too_late_is_a_timeout_from_the_beginning_of_the_request(
    autojump_clock: trio.testing.MockClock,
) -> None:
    context = RequestContext(id="r", method="POST", path="/", started=trio.current_time())
    seen: list[float] = []
    await trio.sleep(4)

    class Around:
        server = None

        def __init__(self) -> None:
            self.context = context

    async def receive() -> Message:
        seen.append(context.deadline - trio.current_time())
        await trio.sleep(2)
        return {"type": "http.request", "body": b"", "more_body": False}

    with pytest.raises(ErrTimeout, match=r"did not arrive within 5 s \(sql.timeout\)"):
        await receive_body(scope(**{REQUEST_KEY: Around()}), receive, LIMITS)
    assert seen == [1.0]
    assert context.deadline == float("inf")  # as before
    assert await receive_body(scope(), receive, LIMITS) == b""  # without a context it counts from now


async def test_a_client_that_leaves_is_a_broken_connection() -> None:
    with pytest.raises(ConnectionResetError):
        await read_body(receiving(b"half", end={"type": "http.disconnect"}), 100)
