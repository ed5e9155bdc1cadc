"""Dispatchers over the scripted providers of `lakehouse.testing`, and what tests of them share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import trio

from lakehouse.chat.dispatch.dispatcher import ServiceDispatcher
from lakehouse.chat.dispatch.open_dispatcher import open_service_dispatcher
from lakehouse.chat.model.answer import Answer
from lakehouse.chat.model.pieces import ContentPiece, Done, Piece
from lakehouse.chat.model.request import Request
from lakehouse.config import ChatTable, Config, PolicyTable
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import LakehouseError
from lakehouse.testing.providers import OLLAMA_END as OLLAMA_END
from lakehouse.testing.providers import SILENCE as SILENCE
from lakehouse.testing.providers import FakeProvider as FakeProvider
from lakehouse.testing.providers import ProviderRequest as ProviderRequest
from lakehouse.testing.providers import Script as Script
from lakehouse.testing.providers import ScriptedBody as ScriptedBody
from lakehouse.testing.providers import completion as completion
from lakehouse.testing.providers import completion_event as completion_event
from lakehouse.testing.providers import completion_stream as completion_stream
from lakehouse.testing.providers import encode_json as encode_json
from lakehouse.testing.providers import error_response as error_response
from lakehouse.testing.providers import ollama_answer as ollama_answer
from lakehouse.testing.providers import ollama_line as ollama_line
from lakehouse.testing.providers import ollama_stream as ollama_stream

KEYS = {
    "OLLAMA_API_KEY": "ok",
    "OPENROUTER_API_KEY": "or-key",
    "OPENCODE_API_KEY": "oc-key",
    "KIMI_API_KEY": "kimi-key",
}


def ollama_in_mode(text: str, mode: str) -> Script:
    """Ollama's answer, in either mode."""
    return ollama_answer(text) if mode == "whole" else ollama_stream(text)


def openai_in_mode(text: str, mode: str) -> Script:
    """The same in OpenAI's form."""
    return completion(text) if mode == "whole" else completion_stream(text)


OVERLOADED = error_response(503, "server busy, please try again.  maximum pending requests exceeded")


class NoJitter(Random):
    """Draws the longest pause that is allowed, so that times can be told."""

    def uniform(self, a: float, b: float) -> float:
        del a
        return b


def settings(
    *, policy: Mapping[str, Any] | None = None, models: Mapping[str, tuple[str, ...]] | None = None, **chatd: Any
) -> Config:
    """A configuration; `policy` and the other keywords are keys of `[chatd.policy]` and `[chatd]`."""
    return Config(chatd=ChatTable(policy=PolicyTable(**(policy or {})), **chatd), models=models or {})


@asynccontextmanager
async def open_fake_dispatcher(
    config: Config | None = None,
    *,
    env: Mapping[str, str] = KEYS,
    random: Random | None = None,
    **providers: FakeProvider,
) -> AsyncIterator[ServiceDispatcher]:
    """A dispatcher over these providers. At the end nothing of what was asked of them may still be open."""
    before = trio.lowlevel.current_statistics().tasks_living
    async with open_service_dispatcher(
        config or settings(), env=env, transports=providers, random=random or NoJitter()
    ) as dispatcher:
        yield dispatcher
    assert {name: provider.open for name, provider in providers.items() if provider.open} == {}
    assert trio.lowlevel.current_statistics().tasks_living == before


def ask(model: str = "m", *fallbacks: str, **fields: Any) -> Request:
    """A request that says hello."""
    messages = fields.pop("messages", ({"role": "user", "content": "Hello?"},))
    return Request(model=model, fallbacks=fallbacks, messages=messages, **fields)


def context(**fields: Any) -> RequestContext:
    """A request in flight."""
    return RequestContext(id="1", method="POST", path="/v1/chat", started=trio.current_time(), **fields)


async def answer_of(dispatcher: ServiceDispatcher, request: Request, mode: str) -> tuple[str, Answer | Done]:
    """The text of an answer, "whole" or as a "stream", and what is said about it: both modes must agree on them."""
    if mode == "whole":
        answer = await dispatcher(request)
        return answer.content, answer
    async with dispatcher.stream(request) as pieces:
        everything = [piece async for piece in pieces]
    done = everything.pop()
    assert isinstance(done, Done)
    return text_of(everything), done


async def read(dispatcher: ServiceDispatcher, *names: str, **fields: Any) -> tuple[list[Piece], LakehouseError | None]:
    """All pieces of a stream, and what broke it if something did."""
    pieces: list[Piece] = []
    try:
        async with dispatcher.stream(ask(*names, **fields)) as arriving:
            async for batch in arriving.batches():
                pieces += batch
    except LakehouseError as error:
        return pieces, error
    return pieces, None


def text_of(pieces: Sequence[Piece]) -> str:
    """The text of these pieces."""
    return "".join(piece.text for piece in pieces if isinstance(piece, ContentPiece))
