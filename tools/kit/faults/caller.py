"""A caller: asks the gateway for a chat, in one of its forms, and writes down what came of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urljoin

import httpx
import trio

from tools.kit.faults.formats import Usage

Form = Literal["native", "openai", "responses", "anthropic", "ollama"]
Mode = Literal["whole", "stream"]
PATHS: Mapping[Form, str] = {
    "native": "/chat",
    "openai": "/chat/completions",
    "responses": "/responses",
    "anthropic": "/messages",
    "ollama": "/../api/chat",
}
"""Below the gateway's `/v1`."""

FINISH_REASONS = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls", "refusal": "content_filter"}
"""Anthropic's reasons under the names of the other forms."""

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
    conversation = "input" if form == "responses" else "messages"
    body: dict[str, object] = {
        "model": model,
        conversation: [{"role": "user", "content": "What outlives its request?"}],
    }
    if form == "anthropic":
        body["max_tokens"] = 1000
    if form == "ollama":
        body["stream"] = mode == "stream"  # which is the default
    elif mode == "stream":
        body["stream"] = True
        if form == "openai":
            body["stream_options"] = {"include_usage": True}
    outcome = Outcome()
    began = trio.current_time()
    try:
        async with http.stream(
            "POST", urljoin(f"{url}/", PATHS[form].lstrip("/")), json=body, headers=headers
        ) as response:
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
    elif form == "responses":
        _response(document, outcome)
    elif form == "ollama":
        _ollama_line(document, outcome)
    elif form == "anthropic":
        outcome.end, outcome.text = "whole", "".join(block.get("text", "") for block in document["content"])
        _anthropic_facts(document, outcome)
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
        if form == "responses":
            if event["type"] in RESPONSE_ENDS:
                _response(event["response"], outcome)
        elif event.get("error"):
            outcome.end = "error"
            _refused(event, outcome)
        elif form == "ollama":
            _ollama_line(event, outcome)
        elif form == "openai":
            choice = (event.get("choices") or [{}])[0]
            outcome.text += (choice.get("delta") or {}).get("content") or ""
            _openai_facts(event, choice, outcome)
        elif form == "anthropic":
            _anthropic_event(event, outcome)
        elif event["type"] == "content":
            outcome.text += event["text"]
        elif event["type"] == "done":
            outcome.end = "whole"
            _facts(event, outcome)


RESPONSE_ENDS = ("response.completed", "response.incomplete", "response.failed")


def _response(response: dict[str, Any], outcome: Outcome) -> None:
    """A response object, whole or from the last event of a stream."""
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    outcome.text = "".join(part.get("text", "") for part in parts)
    outcome.model, outcome.attempts = response["model"], response.get("attempts")
    if counted := response["usage"]:
        outcome.usage = Usage(counted["input_tokens"], counted["output_tokens"])
    if response["error"]:
        outcome.end, outcome.error = "error", response["error"]
        return
    outcome.end = "whole"
    reason = (response["incomplete_details"] or {}).get("reason")
    outcome.finish = {None: "stop", "max_output_tokens": "length"}.get(reason, reason)


def _ollama_line(line: dict[str, Any], outcome: Outcome) -> None:
    """A line of a stream; a whole answer is one as well."""
    outcome.text += line["message"]["content"]
    if line["done"]:
        outcome.end, outcome.model = "whole", line.get("remote_model", "")  # none in a relayed answer
        outcome.finish = line["done_reason"]
        if "eval_count" in line:
            outcome.usage = Usage(line["prompt_eval_count"], line["eval_count"])


async def _events(response: httpx.Response) -> AsyncIterator[str]:
    async for line in response.aiter_lines():
        if line.startswith("{"):
            yield line
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


def _anthropic_event(event: dict[str, Any], outcome: Outcome) -> None:
    match event["type"]:
        case "message_start":
            outcome.model = event["message"]["model"]
        case "content_block_delta":
            outcome.text += event["delta"].get("text", "")
        case "message_delta":
            _anthropic_facts({**event, **event["delta"]}, outcome)
        case "message_stop":
            outcome.end = "whole"


def _anthropic_facts(document: dict[str, Any], outcome: Outcome) -> None:
    outcome.model = document.get("model") or outcome.model
    outcome.finish = FINISH_REASONS[document["stop_reason"]]
    outcome.usage = Usage(document["usage"]["input_tokens"], document["usage"]["output_tokens"])
