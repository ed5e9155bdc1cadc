"""OpenAI's JavaScript client against the service. Needs Node.js with npm, and npm's registry for the first run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from lakehouse.chat.api.protocols import ModelCard
from lakehouse.chat.model.answer import Answer
from lakehouse.chat.model.pieces import ContentPiece, ToolCallPiece
from lakehouse.chat.model.raw_request import RawRequest
from lakehouse.chat.model.request import Request
from lakehouse.core.context import RequestContext
from lakehouse.core.failure_classes import ERROR_CLASSES
from lakehouse.core.provider_failures import make_failure
from tools.kit.fake_dispatcher import CALL, FakeDispatcher, FakePieces, answer, chat_app, done_piece, serve
from tools.kit.node_packages import install_program
from tools.kit.not_installed import NotInstalled

JS = Path(__file__).parent / "js"


class ByModel(FakeDispatcher):
    """Does what the model's name says."""

    async def __call__(self, request: Request, *, context: RequestContext | None = None) -> Answer:
        match request.model:
            case "whole":
                self.reply = answer("Hello!", reasoning="Hm.")
            case "tools":
                self.reply = answer("", tool_calls=(CALL,), finish_reason="tool_calls")
            case "json":
                self.reply = answer('{"city":"Ghent"}')
            case "is the endless one closed?":
                with trio.move_on_after(2):
                    await self.closed.wait()
                self.reply = answer("yes" if self.closed.is_set() else "no")
            case error_class:
                assert error_class in ERROR_CLASSES
                self.reply = make_failure(error_class, "as you wished")
        return await super().__call__(request, context=context)

    @asynccontextmanager
    async def stream(
        self, request: Request, *, context: RequestContext | None = None, raw: RawRequest | None = None
    ) -> AsyncIterator[FakePieces]:
        match request.model:
            case "stream":
                self.script = [[ContentPiece(text="Hel")], [ContentPiece(text="lo"), done_piece()]]
            case "tools":
                self.script = [[ToolCallPiece(tool_call=CALL)], [done_piece(finish_reason="tool_calls")]]
            case "broken":
                self.script = [[ContentPiece(text="Hel")], make_failure("incomplete_stream", "the stream was cut")]
            case "endless":
                self.closed = trio.Event()
                self.script = [[ContentPiece(text="Hel")], trio.Event()]
        async with super().stream(request, context=context, raw=raw) as pieces:
            yield pieces


@pytest.fixture(scope="module")
def client(request: pytest.FixtureRequest) -> Path:
    """The client's script beside the package that it needs, kept in pytest's cache from one run to the next."""
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("openai-js")
    try:
        install_program(JS, folder)
    except NotInstalled as missing:
        pytest.skip(f"OpenAI's JavaScript client cannot run: {missing}")
    return folder / "client.mjs"


@pytest.mark.extended
async def test_the_usual_calls(client: Path, nursery: trio.Nursery) -> None:
    dispatcher = ByModel()
    dispatcher.cards = [ModelCard(id="judge", owned_by="lakehouse"), ModelCard(id="kimi/k2", owned_by="kimi")]
    url = await serve(nursery, chat_app(dispatcher, max_body=64_000))
    with trio.fail_after(30):
        command = ["node", str(client), f"{url}/v1"]
        run = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    report: dict[str, Any] = json.loads(run.stdout)
    call = ["call_1", "get_weather", {"city": "Ghent"}]
    assert report == {
        "create": {"model": "qwen3:8b", "content": "Hello!", "reasoning_content": "Hm.", "finish": "stop", "total": 17},
        "streamWithUsage": {"text": "Hello", "finish": "stop", "total": 17},
        "toolsBothWays": {"whole": [call], "streamed": [call]},
        "jsonSchema": {"city": "Ghent"},
        "models": ["judge", "kimi/k2"],
        "failures": {
            "bad_request": ["BadRequestError", 400, None],
            "context_overflow": ["BadRequestError", 400, "context_length_exceeded"],
            "model_not_found": ["NotFoundError", 404, "model_not_found"],
            "rate_limit": ["RateLimitError", 429, "rate_limit_exceeded"],
            "auth": ["InternalServerError", 502, "auth"],
            "timeout": ["InternalServerError", 504, "timeout"],
        },
        "brokenStream": {"text": "Hel", "api": True, "message": "the stream was cut", "code": "incomplete_stream"},
        "abandon": "yes",
    }
