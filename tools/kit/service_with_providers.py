"""The whole service with every provider scripted on a real socket, each with a key that must never be seen again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import trio

from lakehouse.server.server import Service
from lakehouse.telemetry.log import Log
from lakehouse.testing.upstreams import ReceivedRequest, ScriptedUpstream, UpstreamScript, open_upstream, respond
from tools.kit.in_process_service import client_of, make_config, open_service

KEYS = {
    "OLLAMA_API_KEY": "0123456789abcdef0123456789abcdef.cloudsecretcloudsecret",
    "OPENROUTER_API_KEY": "sk-or-v1-routersecretroutersecret",
    "OPENCODE_API_KEY": "sk-codesecretcodesecretcodesecret",
    "KIMI_API_KEY": "sk-kimi-kimisecretkimisecretkimi",
}
"""By the variable that each is looked up in."""

TABLES = {"ollama_cloud": "", "openrouter": "/api/v1", "opencode": "/zen/v1", "kimi": "/coding/v1"}
"""The providers that have a table, and the path of their real base URL."""

HELLO = [{"role": "user", "content": "Hello?"}]

MODELS = {
    "ollama": "ollama/m",
    "ollama_cloud": "ollama_cloud/m",
    "openrouter": "openrouter/v/m",
    "opencode": "opencode/m",
    "kimi": "kimi/m",
}
"""A name that leads to each provider."""


def ollama(content: str = "Hello.", **message: object) -> dict[str, object]:
    """A whole answer of Ollama's."""
    return {
        "model": "m",
        "message": {"role": "assistant", "content": content, **message},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 7,
        "eval_count": 3,
    }


def completion(content: str | None = "Hello.", *, finish: str = "stop", **message: object) -> dict[str, object]:
    """A whole chat completion."""
    said = {"role": "assistant", "content": content, **message}
    return {
        "id": "x",
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": said, "finish_reason": finish}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def message(content: str = "Hello.", *blocks: Mapping[str, object], stop: str = "end_turn") -> dict[str, object]:
    """A whole answer of the messages form; `blocks` go after the text."""
    return {
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [*([{"type": "text", "text": content}] if content else []), *blocks],
        "stop_reason": stop,
        "usage": {"input_tokens": 7, "output_tokens": 3},
    }


def response(content: str = "Hello.") -> dict[str, object]:
    """A whole answer of OpenAI's responses form."""
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": content}]}
    usage = {"input_tokens": 7, "output_tokens": 3}
    return {"object": "response", "status": "completed", "output": [said], "usage": usage}


def events(*documents: Mapping[str, object], end: bytes = b"data: [DONE]\n\n") -> bytes:
    """Server-sent events, each named after its `type` if it has one."""
    return b"".join([_event(document) for document in documents]) + end


def _event(document: Mapping[str, object]) -> bytes:
    name = f"event: {document['type']}\n" if "type" in document else ""
    return f"{name}data: {json.dumps(document)}\n\n".encode()


def lines(*documents: Mapping[str, object]) -> bytes:
    """Ollama's stream."""
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


def chunk(finish: str | None = None, **delta: object) -> dict[str, object]:
    """A chunk of a streamed completion."""
    return {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def line(content: str = "", *, done: bool = False, **message: object) -> dict[str, object]:
    """A line of Ollama's stream."""
    if done:
        return ollama(content, **message)
    return {"model": "m", "message": {"role": "assistant", "content": content, **message}, "done": False}


def streamed_response(body: bytes, content_type: str = "text/event-stream") -> bytes:
    """A whole response that ends with its connection."""
    return f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\nconnection: close\r\n\r\n".encode() + body


WHOLE = {
    "/api/chat": ollama(),
    "/chat/completions": completion(),
    "/messages": message(),
    "/responses": response(),
}

STREAMS = {
    "/api/chat": lines(line("Hel"), line("lo."), line(done=True)),
    "/chat/completions": events(
        chunk(role="assistant", content="Hel"),
        chunk(content="lo."),
        chunk("stop"),
        {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}},
    ),
    "/messages": events(
        {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
        end=b"",
    ),
    "/responses": events(
        {"type": "response.output_text.delta", "delta": "Hel"},
        {"type": "response.output_text.delta", "delta": "lo."},
        {"type": "response.completed", "response": response()},
        end=b"",
    ),
}


def format_of(asked: ReceivedRequest) -> str:
    """The form that a request is in, by the end of its path."""
    return next(path for path in WHOLE if asked.target.endswith(path))


async def answer_hello(asked: ReceivedRequest, stream: trio.SocketStream) -> None:
    """Says hello in the form and the mode that it is asked in, and has one model."""
    if asked.method == "GET":
        await stream.send_all(respond({"models": [{"name": "m"}], "data": [{"id": "m"}]}))
        return
    form = format_of(asked)
    if asked.json.get("stream"):
        kind = "application/x-ndjson" if form == "/api/chat" else "text/event-stream"
        await stream.send_all(streamed_response(STREAMS[form], kind))
        await stream.aclose()
    else:
        await stream.send_all(respond(WHOLE[form]))


def answer_in_turn(*answers: bytes | Mapping[str, object]) -> UpstreamScript:
    """Give the answers in order, the last one for ever: documents, or whole responses as bytes, which close their
    connection and announce it, so that no client sends its next request on a connection that is about to close."""
    remaining = list(answers)

    async def script(_: ReceivedRequest, stream: trio.SocketStream) -> None:
        answer = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        await stream.send_all(_closing(answer) if isinstance(answer, bytes) else respond(dict(answer)))
        if isinstance(answer, bytes):
            await stream.aclose()

    return script


def _closing(response: bytes) -> bytes:
    """The response with `Connection: close` as its first header; unchanged if it has no HTTP/1.1 status line."""
    status_line, end, rest = response.partition(b"\r\n")
    if not end or not status_line.startswith(b"HTTP/1.1 "):
        return response
    return status_line + b"\r\nconnection: close\r\n" + rest


@dataclass
class ServiceWithProviders:
    """The service, a client of it, and the providers behind it by name."""

    service: Service
    client: httpx.AsyncClient
    providers: dict[str, ScriptedUpstream] = field(default_factory=dict)

    async def chat(self, model: str = "m", headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        """`POST /v1/chat`; what is not said says hello."""
        return await self.client.post(
            "/v1/chat", json={"model": model, "messages": HELLO, **fields}, headers=headers or {}
        )

    async def complete(self, model: str = "m", headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        """`POST /v1/chat/completions`."""
        return await self.client.post(
            "/v1/chat/completions", json={"model": model, "messages": HELLO, **fields}, headers=headers or {}
        )

    @property
    def requests(self) -> dict[str, list[ReceivedRequest]]:
        """What each provider was asked that was asked anything."""
        return {name: there.requests for name, there in self.providers.items() if there.requests}

    def only_request(self, provider: str) -> ReceivedRequest:
        """The only request that there was, which went to `provider`."""
        ((name, requests),) = self.requests.items()
        (asked,) = requests
        assert name == provider
        return asked

    def clear_requests(self) -> None:
        """What was asked until now."""
        for there in self.providers.values():
            there.requests.clear()


@asynccontextmanager
async def open_service_with_providers(
    *,
    env: Mapping[str, str] | None = None,
    chatd: Mapping[str, Any] | None = None,
    policy: Mapping[str, Any] | None = None,
    scripts: Mapping[str, UpstreamScript] | None = None,
    log: Log | None = None,
    reloadable: bool = False,
    **tables: Any,
) -> AsyncIterator[ServiceWithProviders]:
    """The service with its five providers, each friendly unless `scripts` says otherwise, and no retries unless
    `policy` does. `chatd` are further keys of that table, a provider's own among them; `env` is instead of all keys.
    With `reloadable`, its configuration can be reloaded, and stays the same."""
    scripts = scripts or {}
    failed: Exception | None = None
    async with AsyncExitStack() as stack:
        there = {
            name: await stack.enter_async_context(open_upstream(scripts.get(name, answer_hello)))
            for name in ("ollama", *TABLES)
        }
        given = dict(chatd or {})
        settings: dict[str, Any] = {"ollama_url": there["ollama"].url, "policy": {"retries": 0, **(policy or {})}}
        for name, path in TABLES.items():
            settings[name] = {"base_url": there[name].url + path, "key_file": "", **given.pop(name, {})}
        config = make_config(chatd={**settings, **given}, **tables)
        keys = KEYS if env is None else env
        opened = open_service(config, env=keys, log=log, read_config=(lambda: config) if reloadable else None)
        service = await stack.enter_async_context(opened)
        client = await stack.enter_async_context(client_of(service))
        try:
            yield ServiceWithProviders(service, client, there)
        except Exception as error:  # noqa: BLE001 - raised below, without the groups of all the nurseries around it
            failed = error
    if failed is not None:
        raise failed
