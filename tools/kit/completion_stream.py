"""A state machine of OpenAI's chat completion streams, written from the public description of the API.

The fields of each chunk are checked by the types of OpenAI's client. It returns the message that a client puts together.
"""

from __future__ import annotations

import json
from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionChunk

Document = dict[str, Any]


def check_completion(completion: Document) -> Document:
    """Check a whole completion and return its only choice."""
    ChatCompletion.model_validate(completion)
    assert completion["object"] == "chat.completion"
    (choice,) = completion["choices"]
    assert (choice["finish_reason"] == "tool_calls") == bool(choice["message"].get("tool_calls"))
    return dict(choice)


def read_stream(text: str) -> CompletionStream:
    """Check a whole stream."""
    stream = CompletionStream()
    assert text.endswith("\n\n"), "a stream ends with a whole event"
    for event in text.removesuffix("\n\n").split("\n\n"):
        if not event.startswith(":"):
            assert event.startswith("data: "), event
            stream.take(event.removeprefix("data: "))
    assert stream.ended, "the stream has neither an end mark nor an error"
    return stream


class CompletionStream:
    """Takes the data of one stream's events in order; fails on the first that may not come here."""

    def __init__(self) -> None:
        self.error: Document | None = None
        self.finish_reason: str | None = None
        self.usage: Document | None = None
        self.message: Document = {"role": "assistant", "content": ""}
        self.ended = False
        self._identity: tuple[object, ...] | None = None

    def take(self, data: str) -> None:
        """Take the next event."""
        assert not self.ended, f"{data} after the end"
        if data == "[DONE]":
            assert self.finish_reason is not None, "the end mark comes before the finish reason"
            self.ended = True
            return
        chunk = json.loads(data)
        if "error" in chunk:
            assert isinstance(chunk["error"]["message"], str)
            self.error, self.ended = chunk["error"], True
            return
        ChatCompletionChunk.model_validate(chunk)
        assert chunk["object"] == "chat.completion.chunk"
        identity = (chunk["id"], chunk["created"], chunk["model"])
        assert self._identity in (None, identity), "chunks of two completions"
        if self._identity is None:
            assert chunk["choices"][0]["delta"].get("role") == "assistant", "the first chunk has the role"
        self._identity = identity
        if not chunk["choices"]:
            assert self.finish_reason is not None, "usage comes before the finish reason"
            assert self.usage is None
            self.usage = chunk["usage"]
            return
        assert self.finish_reason is None, "a delta after the finish reason"
        (choice,) = chunk["choices"]
        self._take_delta(choice["delta"])
        self.finish_reason = choice["finish_reason"]

    def _take_delta(self, delta: Document) -> None:
        for name in ("content", "reasoning_content", "reasoning", "refusal"):
            if delta.get(name):
                self.message[name] = (self.message.get(name) or "") + delta[name]
        if delta.get("reasoning_details"):
            self.message.setdefault("reasoning_details", []).extend(delta["reasoning_details"])
        for fragment in delta.get("tool_calls") or ():
            calls = self.message.setdefault("tool_calls", [])
            if fragment["index"] == len(calls):
                assert fragment["id"]
                assert fragment["function"]["name"]
                calls.append({"id": fragment["id"], "type": fragment["type"], "function": dict(fragment["function"])})
                calls[-1]["function"].setdefault("arguments", "")
                continue
            assert fragment["index"] == len(calls) - 1, "a fragment of a call that is not the last"
            calls[-1]["function"]["arguments"] += fragment["function"]["arguments"]
