"""Whether answers of chat completions are what clients of OpenAI's API expect, so that they can be relayed.

Providers deviate: chunks without an id, tool calls whose names come in pieces, finish reasons of their own. The readers
of this dialect repair that, and what had to be repaired is rebuilt.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lakehouse.chat.dialects.decoding.event_parser import END_MARK
from lakehouse.chat.model.answer import ProviderAnswer

_FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
_Name = Annotated[str, Meta(min_length=1)]
_Empty = Literal[""] | None
"""Fields in which some providers put the reasoning that clients of this service read in `reasoning_content`."""


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost: float | None = None


class _Function(msgspec.Struct, gc=False):
    name: _Name
    arguments: str


class _Call(msgspec.Struct, gc=False):
    id: _Name
    type: Literal["function"]
    function: _Function


class _Message(msgspec.Struct, gc=False):
    role: Literal["assistant"]
    content: str | None = None
    refusal: str | None = None
    reasoning: _Empty = None
    thinking: _Empty = None
    tool_calls: Annotated[list[_Call], Meta(min_length=1)] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: Literal[0]
    message: _Message
    finish_reason: _FinishReason


class _Completion(msgspec.Struct, gc=False):
    id: _Name
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: Annotated[list[_Choice], Meta(min_length=1, max_length=1)]
    usage: _Usage | None = None


class _FunctionDelta(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _CallDelta(msgspec.Struct, gc=False):
    index: int
    function: _FunctionDelta
    id: str | None = None
    type: Literal["function"] | None = None


class _Delta(msgspec.Struct, gc=False):
    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: str | None = None
    reasoning: _Empty = None
    thinking: _Empty = None
    tool_calls: list[_CallDelta] | None = None


class _ChunkChoice(msgspec.Struct, gc=False):
    index: Literal[0]
    delta: _Delta
    finish_reason: _FinishReason | None = None


class _Chunk(msgspec.Struct, gc=False):
    id: _Name
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: Annotated[list[_ChunkChoice], Meta(max_length=1)]
    usage: _Usage | None = None


_decode_completion = msgspec.json.Decoder(_Completion).decode
_decode_chunk = msgspec.json.Decoder(_Chunk).decode


def is_well_formed(body: bytes, answer: ProviderAnswer) -> bool:
    """Return whether a whole answer has the documented members, and the calls and the finish reason that were read."""
    try:
        completion = _decode_completion(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    choice = completion.choices[0]
    calls = [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()]
    return (
        calls == _list_calls(answer)
        and choice.finish_reason == _get_reason(answer)
        and _has_usage(completion.usage, answer)
    )


def _has_usage(usage: _Usage | None, answer: ProviderAnswer) -> bool:
    """Return whether the counts and the cost that were read are in `usage`, where clients read them."""
    read = answer.usage
    if usage is None:
        return read.input_tokens is None and read.output_tokens is None and read.cost_usd is None
    return read.cost_usd is None or usage.cost is not None


def _list_calls(answer: ProviderAnswer) -> list[tuple[str, str, str]]:
    return [(call.id, call.function.name, call.function.arguments) for call in answer.tool_calls]


def _get_reason(answer: ProviderAnswer) -> str | None:
    return "tool_calls" if answer.tool_calls else answer.finish_reason


@dataclass(slots=True)
class _CallText:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class ChunkChecker:
    """A `StreamChecker`. Tool calls are compared at the end with what was read of them: only then is it known whether
    their fragments were whole."""

    def __init__(self, *, include_usage: bool) -> None:
        """`include_usage`: the client asked for the usage, which is to come in a chunk without a choice."""
        self.holds = False
        self._include_usage = include_usage
        self._usage: _Usage | None = None
        self._calls: dict[int, _CallText] = {}
        self._finish_reason: str | None = None

    def check(self, event: bytes) -> bool:
        """Return whether an event is a chunk with the documented members, a comment, or the end mark."""
        data = b"\n".join([line[5:] for line in event.splitlines() if line.startswith(b"data:")]).strip()
        if not data or data == END_MARK:
            return True
        try:
            chunk = _decode_chunk(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        if chunk.usage is not None:
            self._usage = chunk.usage
            if chunk.choices:
                return False
        for choice in chunk.choices:
            self._finish_reason = choice.finish_reason or self._finish_reason
            for fragment in choice.delta.tool_calls or ():
                self.holds = True
                if not self._add_fragment(fragment):
                    return False
        return True

    def check_end(self, answer: ProviderAnswer) -> bool:
        """Return whether the calls, the finish reason and the usage are those that were read."""
        calls = [(call.id, call.name, "".join(call.arguments)) for call in self._calls.values()]
        return (
            calls == _list_calls(answer)
            and self._finish_reason == _get_reason(answer)
            and (not self._include_usage or _has_usage(self._usage, answer))
        )

    def _add_fragment(self, fragment: _CallDelta) -> bool:
        """Return whether the fragment has id and name if it is the first of its call, and only then."""
        call = self._calls.get(fragment.index)
        if call is not None and (fragment.id or fragment.function.name):
            return False
        if call is None:
            call = _CallText(fragment.id or "", fragment.function.name or "")
            self._calls[fragment.index] = call
        call.arguments.append(fragment.function.arguments or "")
        return bool(call.id and call.name)
