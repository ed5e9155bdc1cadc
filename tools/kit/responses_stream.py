"""A state machine of a Responses stream, written from OpenAI's description of the API.

It checks the order of the events, their numbers and places, that what was streamed is what the items hold, and that the
last event has exactly the items that were done. The fields of each event are checked by the types of OpenAI's client.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pydantic
from openai.types.responses import Response, ResponseStreamEvent

ENDS = ("response.completed", "response.incomplete", "response.failed")

OWN_CODES = ("context_length_exceeded", "insufficient_quota", "model_not_found")
"""Codes of `response.failed` that Codex knows, and that are not in the types of OpenAI's client."""

DELTAS = {
    "response.output_text": ("content_part", "output_text", "text"),
    "response.refusal": ("content_part", "refusal", "refusal"),
    "response.reasoning_summary_text": ("reasoning_summary_part", "summary_text", "text"),
}
"""The part in which each kind of text is streamed: the name of its events, its type and the field of its text."""

ARGUMENTS = {
    "response.function_call_arguments": ("function_call", "arguments"),
    "response.custom_tool_call_input": ("custom_tool_call", "input"),
}


@cache
def _event_type() -> pydantic.TypeAdapter[Any]:
    """Every event of a stream; made when it is needed, for it takes a tenth of a second."""
    return pydantic.TypeAdapter(ResponseStreamEvent)


def read_stream(text: str) -> list[dict[str, Any]]:
    """Return the events of a stream; fails on an event whose name is not its type."""
    events = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        if not lines:
            continue
        name, data = lines
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}", block
        events.append(event)
    return events


def check_stream(text: str) -> dict[str, Any]:
    """Check a whole stream and return the response of its last event."""
    machine = StreamMachine()
    for event in read_stream(text):
        machine.take(event)
    assert machine.response is not None, "the stream has no end"
    return machine.response


def check_response(response: dict[str, Any]) -> None:
    """Check a response object."""
    error = response["error"]
    if error is not None and error["code"] in OWN_CODES:
        response = {**response, "error": {**error, "code": "server_error"}}
    Response.model_validate(response)
    assert response["object"] == "response"
    assert response["store"] is False
    assert response["previous_response_id"] is None
    assert (response["error"] is not None) == (response["status"] == "failed")
    assert (response["incomplete_details"] is not None) == (response["status"] == "incomplete")
    usage = response["usage"]
    if usage is not None:
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
        assert set(usage["input_tokens_details"]) == {"cached_tokens", "cache_write_tokens"}


class StreamMachine:
    """Takes the events of one stream in order; fails on the first one that may not come here."""

    def __init__(self) -> None:
        self.response: dict[str, Any] | None = None  # of the last event
        self._count = 0
        self._id = ""
        self._done: list[dict[str, Any]] = []
        self._item: dict[str, Any] | None = None  # the open item, as it was added
        self._parts: list[dict[str, Any]] = []  # of the open item
        self._part: dict[str, Any] | None = None  # the open part
        self._text = ""  # of the open part, or of the arguments of the open call
        self._text_done = False
        self._annotations: list[dict[str, Any]] = []
        self._logprobs: list[dict[str, Any]] = []

    def take(self, event: dict[str, Any]) -> None:
        """Take the next event."""
        kind = event["type"]
        assert self.response is None, f"{kind} after the end"
        assert event["sequence_number"] == self._count
        self._validate(event)
        if self._count < 2:
            assert kind == ("response.created", "response.in_progress")[self._count]
            self._take_beginning(event["response"])
        elif kind in ENDS:
            self._take_end(kind, event["response"])
        else:
            self._take_item_event(kind, event)
        self._count += 1

    def _validate(self, event: dict[str, Any]) -> None:
        if "response" in event:
            check_response(event["response"])
            event = {**event, "response": {**event["response"], "error": None}}
        _event_type().validate_python(event)

    def _take_beginning(self, response: dict[str, Any]) -> None:
        self._id = self._id or response["id"]
        assert response["id"] == self._id
        assert (response["status"], response["output"], response["usage"]) == ("in_progress", [], None)

    def _take_end(self, kind: str, response: dict[str, Any]) -> None:
        assert response["id"] == self._id
        assert response["status"] == kind.removeprefix("response.")
        assert response["output"] == self._done
        if kind != "response.failed":
            assert self._item is None, "an item is still open"
        self.response = response

    def _take_item_event(self, kind: str, event: dict[str, Any]) -> None:
        assert event["output_index"] == len(self._done)
        if kind == "response.output_item.added":
            self._add_item(event["item"])
            return
        assert self._item is not None, f"{kind} outside of an item"
        if kind == "response.output_item.done":
            self._finish_item(event["item"])
            return
        assert event["item_id"] == self._item["id"]
        stem, _, step = kind.rpartition(".")
        if stem in ARGUMENTS:
            self._take_arguments(stem, step, event)
        elif stem in ("response.content_part", "response.reasoning_summary_part"):
            self._take_part(stem, step, event)
        else:
            self._take_text(stem, step, event)

    def _add_item(self, item: dict[str, Any]) -> None:
        assert self._item is None, "two items are open"
        assert item["status"] == "in_progress"
        assert item["id"] not in [done["id"] for done in self._done]
        assert not any(map(item.get, ("content", "summary", "arguments", "input")))
        self._item, self._parts, self._text, self._text_done = item, [], "", False

    def _finish_item(self, item: dict[str, Any]) -> None:
        assert self._item is not None
        assert self._part is None, "a part is still open"
        for name in ("id", "type", "role", "call_id", "name", "namespace"):
            assert item.get(name) == self._item.get(name), name
        assert item["status"] in ("completed", "incomplete")
        if item["type"] == "message":
            assert item["content"] == self._parts
        elif item["type"] == "reasoning":
            assert item["summary"] == self._parts
        elif item["type"] in ("function_call", "custom_tool_call"):
            assert self._text_done
            assert item["input" if item["type"] == "custom_tool_call" else "arguments"] == self._text
        self._done.append(item)
        self._item = None

    def _take_part(self, stem: str, step: str, event: dict[str, Any]) -> None:
        assert self._item is not None
        index = event["summary_index" if stem.endswith("summary_part") else "content_index"]
        assert index == len(self._parts)
        assert self._item["type"] == ("reasoning" if stem.endswith("summary_part") else "message")
        part = event["part"]
        if step == "added":
            assert self._part is None
            assert not any(map(part.get, ("text", "refusal", "annotations", "logprobs")))
            self._part, self._text, self._text_done = part, "", False
            self._annotations, self._logprobs = [], []
            return
        assert self._part is not None
        assert self._text_done
        assert (part["type"], part.get("text", part.get("refusal"))) == (self._part["type"], self._text)
        if part["type"] == "output_text":
            assert (part["annotations"], part["logprobs"]) == (self._annotations, self._logprobs)
        self._parts.append(part)
        self._part = None

    def _take_text(self, stem: str, step: str, event: dict[str, Any]) -> None:
        assert self._part is not None, f"{event['type']} outside of a part"
        assert not self._text_done
        if stem == "response.output_text.annotation":
            assert (step, event["annotation_index"]) == ("added", len(self._annotations))
            self._annotations.append(event["annotation"])
            return
        _, part_type, field = DELTAS[stem]
        assert self._part["type"] == part_type
        if step == "delta":
            self._text += event["delta"]
            self._logprobs += event.get("logprobs", [])
            assert ("logprobs" in event) == (stem == "response.output_text")
        else:
            assert (step, event[field]) == ("done", self._text)
            self._text_done = True

    def _take_arguments(self, stem: str, step: str, event: dict[str, Any]) -> None:
        assert self._item is not None
        kind, field = ARGUMENTS[stem]
        assert self._item["type"] == kind
        assert not self._text_done
        if step == "delta":
            self._text += event["delta"]
        else:
            assert (step, event[field]) == ("done", self._text)
            assert kind != "function_call" or event["name"] == self._item["name"]
            self._text_done = True
