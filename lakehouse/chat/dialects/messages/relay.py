"""When messages are relayed: requests whose document is sent without a change, and answers of Anthropic's shape."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lakehouse.chat.dialects.encoding.anthropic_form import sends_own_document
from lakehouse.chat.dialects.messages.own_document import build_own_document
from lakehouse.chat.dialects.messages.relayed_message_fast_path import decode_relayed_text
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.relay.rules import RelayRules
from lakehouse.chat.dialects.request_changes import RequestChanges
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.raw_request import ENVELOPE_PREFIX, RawRequest
from lakehouse.chat.model.request import AnthropicRequest, Request

_Name = Annotated[str, Meta(min_length=1)]


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None

    @property
    def counts_input(self) -> bool:
        """Some clients fail without a count of the input."""
        return self.input_tokens + (self.cache_creation_input_tokens or 0) + (self.cache_read_input_tokens or 0) > 0


class _Block(msgspec.Struct, gc=False):
    type: str
    id: str | None = None
    name: str | None = None


class _Message(msgspec.Struct, gc=False):
    id: _Name
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[_Block]
    usage: _Usage
    stop_reason: str | None = None


class _Start(msgspec.Struct, gc=False):
    type: Literal["message_start"]
    message: _Message


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_start = msgspec.json.Decoder(_Start).decode


def is_unchanged(request: Request, raw: RawRequest, quirks: Quirks) -> bool:
    """Return whether the provider gets the client's document as it is, see `RelayRules`."""
    if not isinstance(request, AnthropicRequest) or not sends_own_document(request, "messages"):
        return False
    if ENVELOPE_PREFIX.encode() in raw.body or quirks.inline_think != "never":
        return False
    given = request.document
    sent = build_own_document(
        request, model=given["model"], stream=request.stream, quirks=quirks, changes=RequestChanges()
    )
    own = {"fallbacks": given["fallbacks"]} if request.fallbacks else {}
    return {"stream": False, **given} == {**sent, **own}


def is_well_formed(body: bytes, answer: ProviderAnswer) -> bool:
    """Return whether a whole answer has the documented members, and a reason that goes with its calls."""
    try:
        message = _decode_message(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    calls = [(block.id, block.name) for block in message.content if block.type == "tool_use"]
    return (
        calls == [(call.id, call.function.name) for call in answer.tool_calls]
        and (message.stop_reason == "tool_use") == bool(calls)
        and message.stop_reason is not None
        and message.usage.counts_input
    )


class MessageChecker:
    """A `StreamChecker`. Only the beginning is checked: what follows an event that a client has cannot be rebuilt,
    because the blocks of a message are numbered."""

    holds = False

    def __init__(self, *, include_usage: bool) -> None:  # noqa: ARG002
        """`include_usage`: this form always has the usage."""
        self._started = False

    def check(self, event: bytes) -> bool:
        """Return whether the first event begins a message whose input is counted."""
        if self._started:
            return True
        self._started = True
        name, _, data = event.partition(b"data:")
        try:
            message = _decode_start(data).message
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        return b"message_start" in name and not message.content and message.usage.counts_input

    def check_end(self, answer: ProviderAnswer) -> bool:  # noqa: ARG002
        """True: a message that has begun is not rebuilt."""
        return True


MESSAGES_RELAY = RelayRules(
    is_unchanged=is_unchanged,
    checks_capabilities=False,
    own_fields=(b'"fallbacks"',),
    get_added_member=lambda _raw, _quirks: b"",
    is_withheld=lambda _event: False,
    is_well_formed=is_well_formed,
    decode_text=decode_relayed_text,
    make_checker=MessageChecker,
    model_places=("", "message"),
    repeats_model=True,
    end_mark=b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
)
