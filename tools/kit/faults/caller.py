"""A caller: asks the gateway for a chat, in its native form or OpenAI's, and writes down what came of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import trio

from tools.kit.faults.formats import Usage

Form = Literal["native", "openai"]
Mode = Literal["whole", "stream"]
PATHS: Mapping[Form, str] = {"native": "/chat", "openai": "/chat/completions"}

CALL_TIMEOUT = 600.0
"""Seconds, for a gateway that has no deadlines at all."""


@dataclass(slots=True)
class Outcome:
    """What a caller got. `end` is `whole`, `refused` (an error with its status), `error` (a stream that ended in one),
    `cut` (it ended in nothing) or `left` (the caller did not wait)."""

    end: Literal["whole", "refused", "error", "cut", "left"] = "cut"
    status: int = 0
    text: str = ""
    model: str = ""
    finish: str | None = None
    usage: Usage | None = None
    attempts: list[dict[str, Any]] | None = None
    error: dict[str, Any] = field(default_factory=dict)
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    seconds: float = 0.0

    @property
    def summary(self) -> str:
        """In a word, for a card."""
        why = f" {self.error.get('code') or self.error.get('type')}: {self.error.get('message')}" if self.error else ""
        return f"{self.end} {self.status}{why}"


async def call(
    http: httpx.AsyncClient, url: str, form: Form, mode: Mode, model: str, *, headers: Mapping[str, str] | None = None
) -> Outcome:
    """Ask, and wait for the end. When cancelled, the connection is closed."""
    body: dict[str, object] = {"model": model, "messages": [{"role": "user", "content": "What outlives its request?"}]}
    if mode == "stream":
        body["stream"] = True
        if form == "openai":
            body["stream_options"] = {"include_usage": True}
    outcome = Outcome()
    began = trio.current_time()
    try:
        async with http.stream("POST", url + PATHS[form], json=body, headers=headers) as response:
            outcome.status, outcome.headers = response.status_code, response.headers
            if response.status_code == 200 and mode == "stream":
                await _stream(_events(response), form, outcome)
            else:
                _whole(await response.aread(), form, outcome)
    except httpx.TransportError as error:
        outcome.error = {"code": "cut", "message": f"{type(error).__name__}: {error}"}
    outcome.seconds = trio.current_time() - began
    return outcome


def _whole(content: bytes, form: Form, outcome: Outcome) -> None:
    try:
        document = json.loads(content)
    except ValueError:
        document = {"error": {"code": "no JSON", "message": repr(content[:80])}}
    if outcome.status != 200 or document.get("error"):
        outcome.end = "refused"
        _refused(document, outcome)
    elif form == "native":
        outcome.end, outcome.text = "whole", document["content"]
        _facts(document, outcome)
    else:
        choice = (document.get("choices") or [{}])[0]
        outcome.end, outcome.text = "whole", (choice.get("message") or {}).get("content") or ""
        _openai_facts(document, choice, outcome)


async def _stream(events: AsyncIterator[str], form: Form, outcome: Outcome) -> None:
    async for data in events:
        if form == "openai" and data == "[DONE]":
            outcome.end = "whole"
            continue
        event = json.loads(data)
        if event.get("error"):
            outcome.end = "error"
            _refused(event, outcome)
        elif form == "openai":
            choice = (event.get("choices") or [{}])[0]
            outcome.text += (choice.get("delta") or {}).get("content") or ""
            _openai_facts(event, choice, outcome)
        elif event["type"] == "content":
            outcome.text += event["text"]
        elif event["type"] == "done":
            outcome.end = "whole"
            _facts(event, outcome)


async def _events(response: httpx.Response) -> AsyncIterator[str]:
    async for line in response.aiter_lines():
        if line.startswith("data:"):
            yield line[5:].strip()


def _refused(document: dict[str, Any], outcome: Outcome) -> None:
    error = document.get("error", document)
    outcome.error = error if isinstance(error, dict) else {"message": str(error)}
    outcome.attempts = outcome.error.get("attempts", outcome.attempts)


def _facts(document: dict[str, Any], outcome: Outcome) -> None:
    outcome.model, outcome.finish, outcome.attempts = (
        document["model"],
        document["finish_reason"],
        document["attempts"],
    )
    if document["output_tokens"] is not None:
        outcome.usage = Usage(document["input_tokens"], document["output_tokens"])


def _openai_facts(document: dict[str, Any], choice: dict[str, Any], outcome: Outcome) -> None:
    outcome.model = document.get("model") or outcome.model
    outcome.finish = choice.get("finish_reason") or outcome.finish
    outcome.attempts = document.get("attempts", outcome.attempts)
    if counted := document.get("usage"):
        outcome.usage = Usage(counted.get("prompt_tokens"), counted.get("completion_tokens"))
