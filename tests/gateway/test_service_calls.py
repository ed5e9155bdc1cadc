"""Calls of services by the process itself: over a socket or of an application, with the context of the request."""

from __future__ import annotations

import json
from math import inf
from typing import Any

import pytest
import trio

from lakehouse.asgi.body import read_body
from lakehouse.asgi.responses import send_json
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrConflict, ErrNotFound, ErrUnavailable, ErrUpstream
from lakehouse.gateway.service_calls import MAX_RESPONSE
from lakehouse.testing.upstreams import respond
from tools.kit.gateway_services import ServiceRequest, never_answer, open_gateway


def make_context(deadline: float = inf) -> RequestContext:
    return RequestContext(
        id="one", method="POST", path="/v1/ask", started=trio.current_time(), deadline=trio.current_time() + deadline
    )


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """A service of this process: tells what it was asked, and refuses DELETE."""
    if scope["method"] == "DELETE":
        raise ErrConflict("not now", details={"item": 3})
    body = (await read_body(receive, 1000)).decode()
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    await send_json(send, 200, {"method": scope["method"], "path": scope["path"], "body": body, "headers": headers})


async def test_a_service_on_a_socket_gets_the_document_the_id_and_the_time_left() -> None:
    async def script(visit: ServiceRequest) -> None:
        told = {name.decode().lower(): value.decode() for name, value in visit.headers}
        body = (await visit.body(visit.headers)).decode()
        await visit.send(respond({"target": visit.target.decode(), "headers": told, "body": body}))

    async with open_gateway() as up:
        up.queryd.script = script
        answer = json.loads(
            await up.gateway.calls.call("queryd", "POST", "/sql", {"sql": "SELECT 1"}, context=make_context(5))
        )
        assert (answer["target"], answer["body"]) == ("/sql", '{"sql":"SELECT 1"}')
        assert answer["headers"]["content-type"] == "application/json"
        assert answer["headers"]["x-request-id"] == "one"
        assert 4000 < int(answer["headers"]["x-request-timeout-ms"]) <= 5000
        answer = json.loads(await up.gateway.calls.call("queryd", "GET", "/a", context=make_context()))
        assert answer["body"] == ""
        assert {"content-type", "x-request-timeout-ms"}.isdisjoint(answer["headers"])
        assert up.is_quiet()


async def test_an_application_is_called_and_what_it_raises_comes_out() -> None:
    async with open_gateway(apps={"queryd": echo}) as up:
        calls = up.gateway.calls
        answer = json.loads(await calls.call("queryd", "POST", "/sql%20x", [1], context=make_context()))
        assert (answer["path"], answer["body"], answer["headers"]["x-request-id"]) == ("/sql x", "[1]", "one")
        with pytest.raises(ErrConflict, match="not now") as caught:
            await calls.call("queryd", "DELETE", "/sql", context=make_context())
        assert caught.value.details == {"item": 3}


@pytest.mark.parametrize("more", [0, 1])
async def test_the_response_of_an_application_is_bounded(more: int) -> None:
    piece, sent, ended = bytes(1024 * 1024), 0, trio.Event()
    whole = MAX_RESPONSE // len(piece)

    async def stream(_scope: Scope, _receive: Receive, send: Send) -> None:
        nonlocal sent
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while more or sent < whole:  # without an end if it is to be refused
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                sent += 1
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            ended.set()

    async with open_gateway(apps={"queryd": stream}) as up:
        if more:
            with pytest.raises(ErrUpstream, match=f"queryd answered more than {MAX_RESPONSE} bytes"):
                await up.gateway.calls.call("queryd", "GET", "/a", context=make_context())
        else:
            assert len(await up.gateway.calls.call("queryd", "GET", "/a", context=make_context())) == MAX_RESPONSE
        assert ended.is_set()
        assert sent <= whole + 1


def failure(code: str, status: int) -> dict[str, Any]:
    return {"error": {"code": code, "message": "it failed", "status": status, "details": {"item": 3}}}


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (failure("ErrNotFound", 404), 404, ErrNotFound),
        (failure("ErrUnavailable", 503), 503, ErrUnavailable),
        (failure("ErrUpstream", 502), 502, ErrUpstream),
        (failure("ErrNotFound", 404), 409, ErrUpstream),
        (failure("ErrUnauthorized", 401), 401, ErrUpstream),
        (failure("ErrMadeUp", 418), 418, ErrUpstream),
        ({"error": "plain"}, 500, ErrUpstream),
        (b"\xff", 500, ErrUpstream),
        (b"", 302, ErrUpstream),
    ],
)
async def test_errors_of_ours_are_raised_and_all_others_are_failures_of_the_service(
    body: Any, status: int, kind: type[Exception]
) -> None:
    async def script(visit: ServiceRequest) -> None:
        await visit.send(respond(body, status, more="retry-after: 7\r\n"))

    async with open_gateway() as up:
        up.matrixd.script = script
        with pytest.raises(kind) as caught:
            await up.gateway.calls.call("matrixd", "GET", "/matrix/corpora", context=make_context())
        assert type(caught.value) is kind
        if kind is ErrUnavailable:
            assert isinstance(caught.value, ErrUnavailable)
            assert (caught.value.retry_after, caught.value.details) == (7.0, {"item": 3})
        assert up.is_quiet()


async def test_a_call_that_is_cancelled_leaves_no_connection() -> None:
    async with open_gateway() as up:
        up.matrixd.script = never_answer
        with trio.move_on_after(0.1):
            await up.gateway.calls.call("matrixd", "GET", "/matrix/corpora", context=make_context())
        await up.matrixd.gone.wait()
        assert up.is_quiet()
