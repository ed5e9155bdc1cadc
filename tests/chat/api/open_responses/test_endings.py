"""How `/v1/responses` fails: before the stream and within it, so that Codex stops and SDKs raise the right class."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from lakehouse.chat.api.open_responses.format import ResponsesFormat
from lakehouse.chat.dialects.call_codec import CallCodec
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.messages.dialect import MESSAGES
from lakehouse.chat.dialects.ollama.dialect import OLLAMA
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.responses.dialect import RESPONSES
from lakehouse.chat.model.pieces import ContentPiece, Piece, ReasoningPiece
from lakehouse.core.errors import ErrProviderNotFound, ErrSessionStopped, ErrUnavailable, LakehouseError
from lakehouse.core.provider_failures import make_failure
from tests.chat.api.open_responses.answers_kit import EVERYTHING
from tests.chat.api.open_responses.responses_kit import MODELS, body, open_door, stream
from tools.kit.fake_dispatcher import FakeDispatcher, FakePieces, chat_app, done_piece, serve
from tools.kit.fake_providers import Script
from tools.kit.responses_stream import check_stream
from tools.kit.service_with_providers import ollama

DIALECTS = pytest.mark.parametrize("dialect", MODELS)

LONG = {"error": {"message": "This model's maximum context length is 8192 tokens", "code": "context_length_exceeded"}}
SPENT = {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota"}}
FAILURES: dict[str, tuple[int, Any, int, str, int, str]] = {
    # status and body of the provider; status and code of a whole answer; status and code of a streamed one
    "context": (400, LONG, 400, "context_length_exceeded", 400, "context_length_exceeded"),
    "a bad request": (400, {"error": {"message": "no such thing"}}, 400, "invalid_prompt", 400, "invalid_prompt"),
    "quota": (429, SPENT, 429, "insufficient_quota", 429, "insufficient_quota"),
    "rate": (429, {"error": {"message": "slow down"}}, 429, "rate_limit_exceeded", 429, "rate_limit_exceeded"),
    "our key": (401, {"error": {"message": "invalid api key"}}, 502, "auth", 200, "invalid_prompt"),
    "a bill": (402, {"error": {"message": "insufficient credits"}}, 502, "billing", 200, "insufficient_quota"),
    "model": (404, {"error": {"message": "model m does not exist"}}, 404, "model_not_found", 200, "model_not_found"),
    "overload": (529, {"error": {"message": "busy", "type": "overloaded_error"}}, 502, "overloaded", 200, "invalid_prompt"),
    "a crash": (500, {"error": {"message": "boom"}}, 502, "server_error", 200, "invalid_prompt"),
    "policy": (400, {"error": {"message": "flagged", "code": "content_filter"}}, 400, "content_filter", 400, "content_filter"),
}  # fmt: skip
RETRYABLE = ("rate", "overload", "a crash")


@DIALECTS
@pytest.mark.parametrize("name", FAILURES)
async def test_a_failure_of_every_route_before_the_first_piece(dialect: str, name: str) -> None:
    status, document, whole_status, whole_code, streamed_status, streamed_code = FAILURES[name]
    async with open_door(dialect, body(document, status=status)) as door:
        whole = await door.post()
        streamed = await door.post(stream=True)
    message = document["error"]["message"]
    assert (whole.status_code, whole.json()["error"]["code"]) == (whole_status, whole_code), whole.text
    assert message in whole.json()["error"]["message"]
    assert (whole.headers.get("x-should-retry") != "false") == (name in RETRYABLE)
    assert streamed.status_code == streamed_status, streamed.text
    assert streamed.headers["x-lakehouse-attempts"] == "1"
    error = check_stream(streamed.text)["error"] if streamed_status == 200 else streamed.json()["error"]
    assert error["code"] == streamed_code
    assert message in error["message"]


PIECES: list[Piece] = [ReasoningPiece("Hm."), ContentPiece("Hel")]
WITHIN = [
    make_failure("overloaded", "busy"),
    make_failure("incomplete_stream", "cut"),
    make_failure("rate_limit", "slow"),
    make_failure("timeout", "late"),
    ErrUnavailable("the service is shutting down"),
    ErrSessionStopped("the budget is spent"),
    LakehouseError("internal error"),
]


@pytest.mark.parametrize("error", WITHIN, ids=str)
async def test_a_failure_within_the_stream_stops_the_client(error: LakehouseError, nursery: trio.Nursery) -> None:
    dispatcher = FakeDispatcher(script=[PIECES, error])
    url = await serve(nursery, chat_app(dispatcher, max_body=64_000))
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        answer = await client.post("/v1/responses", json={"model": "m", "input": "Hello?", "stream": True})
        response = check_stream(answer.text)
        assert (response["status"], response["error"]) == ("failed", {"code": "invalid_prompt", "message": str(error)})
        dispatcher.script = [error]
        first = await client.post("/v1/responses", json={"model": "m", "input": "Hello?", "stream": True})
        assert first.status_code == (error.status if error.status in (400, 429) else 200)
        unknown = FakeDispatcher(script=[ErrProviderNotFound("no provider x")])
        url = await serve(nursery, chat_app(unknown, max_body=64_000))
        failed = await client.post(f"{url}/v1/responses", json={"model": "m", "input": "Hello?", "stream": True})
        assert check_stream(failed.text)["error"] == {"code": "model_not_found", "message": "no provider x"}
    nursery.cancel_scope.cancel()


async def test_a_provider_that_is_not_registered() -> None:
    async with open_door("ollama", body({})) as door:
        door.model = "local/m"
        whole, streamed = await door.post(), await door.post(stream=True)
    assert (whole.status_code, whole.json()["error"]["code"]) == (404, "model_not_found")
    assert check_stream(streamed.text)["error"]["code"] == "model_not_found"


async def test_a_deadline_before_the_first_piece_is_a_stream_as_well(autojump_clock: MockClock) -> None:
    async with open_door("ollama", body(ollama()), Script(wait=1000)) as door:
        await door.ask(stream=False)  # the form is loaded in a thread, for which this clock does not wait
        request = {"model": door.model, "input": "Hello?", "stream": True}
        late = await door.client.post("/v1/responses", json=request, headers={"x-request-timeout-ms": "50"})
        assert (late.status_code, late.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert late.headers.get_list("x-lakehouse-attempts") == ["1"]
        assert check_stream(late.text)["error"]["code"] == "invalid_prompt"
        request["stream"] = False
        whole = await door.client.post("/v1/responses", json=request, headers={"x-request-timeout-ms": "50"})
        assert (whole.status_code, whole.json()["error"]["code"]) == (504, "timeout")


def script_of(dialect: str) -> bytes:
    return b"".join(chunk for _, chunk in EVERYTHING[dialect][1].chunks if isinstance(chunk, bytes))


@DIALECTS
async def test_any_truncation_of_the_upstreams_stream_ends_in_a_failure(dialect: str) -> None:
    whole = script_of(dialect)
    step = max(1, len(whole) // 40)
    cuts = [whole[:at] for at in range(1, len(whole), step)]
    async with open_door(dialect, *map(stream, cuts), policy={"breaker_failures": 10_000}) as door:
        for cut in cuts:
            answer = await door.post(stream=True)
            assert answer.status_code == 200, answer.text
            response = check_stream(answer.text)
            if response["status"] != "failed":  # only what is not of the answer is missing: usage, the end mark
                kinds = [item["type"] for item in response["output"]]
                assert kinds == ["reasoning", "message", "function_call", "function_call"], cut[-100:]
            else:
                assert response["error"]["code"] == "invalid_prompt"


def encode(dialect: str, whole: bytes, size: int) -> bytes:
    """Return the events for the pieces of a stream that is read in parts of this size."""
    api_format = ResponsesFormat()
    query = api_format.parse(json.dumps({"model": "m", "input": "Hello?", "stream": True}).encode())
    codec = CallCodec(WIRES[dialect], query.request, model="m", stream=True, quirks=Quirks(provider="ollama"))
    parser, encoder, route = codec.make_parser(), api_format.make_encoder(query, "id"), FakePieces(())
    parts = [whole[at : at + size] for at in range(0, len(whole), size)]
    batches: list[Sequence[Piece]] = [parser.feed(part) for part in parts]
    batches.append(parser.flush())
    reply = parser.end()
    end = done_piece(finish_reason="tool_calls", reasoning_details=reply.reasoning_details)
    return b"".join([encoder.encode_events(batch, route) for batch in (*batches, [end]) if batch])


WIRES = {"chat_completions": CHAT_COMPLETIONS, "responses": RESPONSES, "messages": MESSAGES, "ollama": OLLAMA}


@DIALECTS
def test_any_split_of_the_upstreams_stream_gives_the_same_bytes(dialect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lakehouse.chat.api.open_responses.response.getrandbits", lambda _: 7)
    monkeypatch.setattr("lakehouse.chat.api.open_responses.response.time.time", lambda: 1_700_000_000.0)
    whole = script_of(dialect)
    expected = encode(dialect, whole, len(whole))
    assert expected.count(b"event: ") > 20
    for size in (1, 2, 7, 64, 1000):
        assert encode(dialect, whole, size) == expected
