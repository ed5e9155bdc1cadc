"""A state machine of Anthropic's streams, written from the public description of the Messages API.

Every streamed message in the tests passes through it. It returns the message that a client puts together.
"""

from __future__ import annotations

import json
from typing import Any

COUNTS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
STOP_REASONS = ("end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal")

DELTAS = {
    "text": ("text_delta", "citations_delta"),
    "thinking": ("thinking_delta", "signature_delta"),
    "tool_use": ("input_json_delta",),
    "redacted_thinking": (),
}
"""The deltas of each type of block."""

BLOCK_FIELDS = {
    "text": {"type", "text"},
    "thinking": {"type", "thinking", "signature"},
    "tool_use": {"type", "id", "name", "input"},
    "redacted_thinking": {"type", "data"},
}
"""The fields of each type of block."""


CITATION_FIELDS = {
    "web_search_result_location": {"cited_text", "encrypted_index", "title", "url"},
    "search_result_location": {
        "cited_text",
        "search_result_index",
        "source",
        "title",
        "start_block_index",
        "end_block_index",
    },
    "char_location": {"cited_text", "document_index", "document_title", "start_char_index", "end_char_index"},
    "page_location": {"cited_text", "document_index", "document_title", "start_page_number", "end_page_number"},
}
"""The required fields of citations."""


def read_stream(text: str) -> dict[str, Any]:
    """Check a whole stream, and return its message; a stream that failed is returned as its `error` event's data."""
    reader = MessageStreamReader()
    for event in split_events(text):
        reader.feed(*event)
    return reader.finish()


def split_events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The names and data of the events. Each event has exactly these two lines."""
    events = []
    assert text.endswith("\n\n"), "a stream ends with a whole event"
    for block in text.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        assert name.startswith("event: "), name
        assert data.startswith("data: "), data
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


def check_message(message: dict[str, Any]) -> None:
    """Check a whole message."""
    assert (message["type"], message["role"]) == ("message", "assistant")
    assert message["id"].startswith("msg_")
    assert isinstance(message["model"], str)
    assert message["stop_reason"] in STOP_REASONS
    assert message["stop_sequence"] is None or message["stop_reason"] == "stop_sequence"
    _check_counts(message["usage"])
    for block in message["content"]:
        _check_fields(block)
        if block["type"] == "tool_use":
            assert isinstance(block["input"], dict)
    calls = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
    assert len(set(calls)) == len(calls)
    assert bool(calls) == (message["stop_reason"] == "tool_use")


def _check_fields(block: dict[str, Any]) -> None:
    """Check the fields of a block, and the citations that a text may have."""
    assert set(block) - {"citations"} == BLOCK_FIELDS[block["type"]]
    for citation in block.get("citations", ()):
        assert block["type"] == "text"
        assert CITATION_FIELDS[citation["type"]] <= set(citation)


def _check_counts(usage: dict[str, Any]) -> None:
    for name in COUNTS:
        assert type(usage[name]) is int, name
        assert usage[name] >= 0, name


class MessageStreamReader:
    """Takes the events of one stream in order."""

    def __init__(self) -> None:
        self.message: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self._open: dict[str, Any] | None = None
        self._partial_json = ""
        self._ended = False  # message_delta was read
        self._stopped = False  # nothing may follow

    def feed(self, name: str, data: dict[str, Any]) -> None:
        """Take one event."""
        assert not self._stopped, f"{name} after the end"
        assert data["type"] == name
        if name == "error":
            assert isinstance(data["error"]["type"], str)
            assert isinstance(data["error"]["message"], str)
            self.error, self._stopped = data, True
        elif name == "message_start":
            self._start(data["message"])
        elif name != "ping":
            assert self.message is not None, f"{name} before message_start"
            getattr(self, f"_read_{name}")(data)

    def finish(self) -> dict[str, Any]:
        """The message after the last event, or the error."""
        assert self._stopped, "the stream was cut"
        if self.error is not None:
            return self.error
        assert self.message is not None
        check_message(self.message)
        return self.message

    def _start(self, message: dict[str, Any]) -> None:
        assert self.message is None, "message_start twice"
        assert (message["content"], message["stop_reason"], message["stop_sequence"]) == ([], None, None)
        _check_counts(message["usage"])
        assert message["usage"]["input_tokens"] > 0
        self.message = message

    def _read_content_block_start(self, data: dict[str, Any]) -> None:
        assert self.message is not None
        assert self._open is None, "a block begins inside of another"
        assert not self._ended
        assert data["index"] == len(self.message["content"])
        self._open = data["content_block"]
        _check_fields(self._open)
        if self._open["type"] != "redacted_thinking":
            empty = {"text": "", "thinking": "", "signature": "", "input": {}}
            assert all(self._open[field] == value for field, value in empty.items() if field in self._open)
        self._partial_json = ""
        self.message["content"].append(self._open)

    def _read_content_block_delta(self, data: dict[str, Any]) -> None:
        block = self._get_open(data)
        delta = data["delta"]
        assert delta["type"] in DELTAS[block["type"]]
        if delta["type"] == "input_json_delta":
            self._partial_json += delta["partial_json"]
        elif delta["type"] == "citations_delta":
            block.setdefault("citations", []).append(delta["citation"])
        elif delta["type"] == "signature_delta":
            assert not block["signature"], "a second signature"
            block["signature"] = delta["signature"]
        else:
            field = block["type"]
            assert not block.get("signature"), "thinking after its signature"
            block[field] += delta[field]

    def _read_content_block_stop(self, data: dict[str, Any]) -> None:
        block = self._get_open(data)
        if block["type"] == "tool_use":
            block["input"] = json.loads(self._partial_json or "{}")
        self._open = None

    def _get_open(self, data: dict[str, Any]) -> dict[str, Any]:
        assert self.message is not None
        assert self._open is not None
        assert data["index"] == len(self.message["content"]) - 1
        return self._open

    def _read_message_delta(self, data: dict[str, Any]) -> None:
        assert self.message is not None
        assert self._open is None, "a block is open at the end"
        assert not self._ended
        assert set(data["delta"]) == {"stop_reason", "stop_sequence"}
        self.message |= data["delta"]
        self.message["usage"] |= data["usage"]
        self._ended = True

    def _read_message_stop(self, _: dict[str, Any]) -> None:
        assert self._ended
        self._stopped = True
