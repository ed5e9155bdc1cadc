"""When Ollama's chats are relayed: requests that an Ollama takes as the client wrote them, and answers that are sound.

A request is rebuilt if something in it is repaired for the model or the server: a format, which the model is shown as
well, references in a schema, a stop sequence that is no list, arguments in a string, images as URLs. The service's
default of `think` is added to the bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from lakehouse.chat.dialects.decoding.think_splitter import OPEN
from lakehouse.chat.dialects.encoding.images import check_images
from lakehouse.chat.dialects.encoding.tools import resolve_tools
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.relay.model_strings import find_models
from lakehouse.chat.dialects.relay.rules import RelayRules
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.parts import ImagePart
from lakehouse.chat.model.raw_request import RawRequest
from lakehouse.chat.model.request import OllamaRequest, Request

NEAREST_LEVELS = {"minimal": "low", "xhigh": "max", "ultra": "max"}
"""The nearest of Ollama's levels (low, medium, high, max) to each of OpenAI's that it rejects. Ollama's own
OpenAI-compatible endpoint maps them the same way."""

_REPAIRED = re.compile(rb'"\$ref"|"arguments"\s*:\s*"|"data:')
"""A reference in a schema, the arguments of a call as a string, an image as a URL. A text may contain them too; then
the request is rebuilt without need."""


class _Function(msgspec.Struct, gc=False):
    name: str
    arguments: dict[str, Any]


class _Call(msgspec.Struct, gc=False):
    function: _Function


class _Message(msgspec.Struct, gc=False):
    role: Literal["assistant"]
    content: str
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _StreamedLine(msgspec.Struct, gc=False):
    model: str
    created_at: str
    message: _Message
    done: bool
    done_reason: Literal["stop", "length"] | None = None


_decode_line = msgspec.json.Decoder(_StreamedLine).decode


def is_unchanged(request: Request, raw: RawRequest, quirks: Quirks) -> bool:
    """Return whether the provider takes the request as it is, see `RelayRules`."""
    return (
        isinstance(request, OllamaRequest)
        and quirks.inline_think != "unopened"
        and not quirks.extra_body
        and quirks.default_max_tokens is None
        and request.format is None
        and not isinstance(request.stop, str)
        and (quirks.send_temperature or (request.temperature is None and request.top_p is None))
        and (request.think not in NEAREST_LEVELS if request.think is not None else b'"think"' not in raw.body)
        and _names_model_once(raw.body)
        and not _REPAIRED.search(raw.body)
        and _keeps_messages(request, quirks)
        and (request.tools is None or resolve_tools(request, quirks)[0] == list(request.tools))
    )


def _names_model_once(body: bytes) -> bool:
    """Return whether the member `model` is a string, and not the older `name` in its place."""
    return len(find_models(body)) == 1


def _keeps_messages(request: Request, quirks: Quirks) -> bool:
    for position, message in enumerate(request.messages):
        if isinstance(message.content, tuple) and any(isinstance(part, ImagePart) for part in message.content):
            check_images(message, position, quirks)
        if message.role == "developer" or (message.reasoning and quirks.reasoning_key != "thinking"):
            return False
    return True


def get_default_member(request: Request, quirks: Quirks) -> bytes:
    """Return the service's `think` for a request without one."""
    if request.think is not None or quirks.default_think is None:
        return b""
    return b'"think":' + msgspec.json.encode(quirks.default_think)


def add_no_member(_raw: RawRequest, _quirks: Quirks) -> bytes:
    """Return no member: a stream has its counts unasked."""
    return b""


def is_well_formed(body: bytes, answer: ProviderAnswer) -> bool:
    """Return whether a whole answer is what Ollama's clients expect, without anything that was repaired."""
    line = _read_line(body)
    return line is not None and line.done and line.message.content == answer.content and _has_reason(line, answer)


def _read_line(data: bytes) -> _StreamedLine | None:
    try:
        line = _decode_line(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    calls = line.message.tool_calls or ()
    return line if all(call.function.name for call in calls) else None


def _has_reason(line: _StreamedLine, answer: ProviderAnswer) -> bool:
    """Return whether the end says what the answer is said to have ended with; a tool call ends with `stop`."""
    reason = "stop" if answer.finish_reason == "tool_calls" else answer.finish_reason
    return line.done_reason is not None and line.done_reason == reason


@dataclass(slots=True)
class LineChecker:
    """Checks the lines of one stream: a `StreamChecker`. The text may begin with a tag that splits off its thinking, so
    nothing is passed on while that is open."""

    holds: bool = False
    _start: str = ""
    _started: bool = False
    _last: _StreamedLine | None = None

    def check(self, event: bytes) -> bool:
        """Return whether a line is well-formed."""
        line = self._last = _read_line(event)
        if line is None:
            return False
        if not self._started and line.message.content:
            self._start = (self._start + line.message.content).lstrip()
            if self._start.startswith(OPEN):
                return False
            self._started = not OPEN.startswith(self._start)
            self.holds = not self._started
        return True

    def check_end(self, answer: ProviderAnswer) -> bool:
        """Return whether the last line says how the answer ended."""
        return self._last is not None and self._last.done and _has_reason(self._last, answer)


def make_checker(*, include_usage: bool) -> LineChecker:  # noqa: ARG001 - every stream has its counts
    """Return the checker of one stream."""
    return LineChecker()


OLLAMA_RELAY = RelayRules(
    is_unchanged=is_unchanged,
    checks_capabilities=True,
    own_fields=(),
    get_added_member=add_no_member,
    is_withheld=lambda _: False,
    is_well_formed=is_well_formed,
    make_checker=make_checker,
    model_places=("",),
    end_mark=b"",
    get_default_member=get_default_member,
)
