"""When responses are relayed: requests that their provider takes as the client wrote them.

A client that does not say `"store": false` would have its response stored by the provider, so such a request is
rebuilt, as is one with reasoning that only this service can read.
"""

from __future__ import annotations

import msgspec

from lakehouse.chat.dialects.encoding.images import check_images
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.relay.rules import RelayRules
from lakehouse.chat.dialects.responses.parameters import MIN_OUTPUT_TOKENS
from lakehouse.chat.dialects.responses.relayed_response_fast_path import decode_relayed_text
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.raw_request import ENVELOPE_PREFIX, RawRequest
from lakehouse.chat.model.request import Request, TranslatedRequest


def is_unchanged(request: Request, raw: RawRequest, quirks: Quirks) -> bool:
    """Return whether the provider takes the request as it is, see `RelayRules`."""
    return (
        isinstance(request, TranslatedRequest)
        and request.own_fields.get("store") is False
        and ENVELOPE_PREFIX.encode() not in raw.body
        and not quirks.extra_body
        and quirks.default_think is None
        and quirks.schema_subset == "full"
        and request.format is None
        and (quirks.send_user or request.user is None)
        and (quirks.send_temperature or (request.temperature is None and request.top_p is None))
        and _keeps_limit(request, quirks)
        and (quirks.custom_tools or not any(tool.get("type") == "custom" for tool in request.tools or ()))
        and _keeps_messages(request, quirks)
    )


def _keeps_limit(request: Request, quirks: Quirks) -> bool:
    if request.max_tokens is None:
        return quirks.default_max_tokens is None
    return request.max_tokens >= MIN_OUTPUT_TOKENS


def _keeps_messages(request: Request, quirks: Quirks) -> bool:
    for position, message in enumerate(request.messages):
        check_images(message, position, quirks)
    return all(
        (quirks.developer_role or message.role != "developer")
        and (quirks.reasoning_details or not message.reasoning_details)
        for message in request.messages
    )


class _Item(msgspec.Struct, gc=False):
    type: str


class _Response(msgspec.Struct, gc=False):
    id: str
    object: str
    status: str
    model: str
    output: list[_Item]


class _Event(msgspec.Struct, gc=False):
    type: str
    sequence_number: int
    response: _Response | None = None


_decode_response = msgspec.json.Decoder(_Response).decode
_decode_event = msgspec.json.Decoder(_Event).decode


def is_well_formed(body: bytes, answer: ProviderAnswer) -> bool:  # noqa: ARG001 - as `RelayRules` has it
    """Return whether a whole answer is a response object with the members that clients need."""
    try:
        response = _decode_response(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return response.object == "response" and response.status in ("completed", "incomplete")


class EventChecker:
    """A `StreamChecker` of the beginning: a stream must begin with `response.created`, and an item before anything of
    it. Later nothing can be rebuilt, because the items that were begun have ids and places of the provider's."""

    holds = False

    def __init__(self, *, include_usage: bool) -> None:  # noqa: ARG002 - responses always have their usage
        self._begun = False
        self._has_item = False

    def check(self, event: bytes) -> bool:
        """Return whether an event may come here."""
        if self._has_item:
            return True
        data = b"\n".join([line[5:] for line in event.splitlines() if line.startswith(b"data:")]).strip()
        if not data:
            return True
        try:
            document = _decode_event(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        if not self._begun:
            self._begun = document.type == "response.created" and document.response is not None
            return self._begun
        self._has_item = document.type == "response.output_item.added"
        return self._has_item or document.type in ("response.in_progress", "response.queued")

    def check_end(self, answer: ProviderAnswer) -> bool:  # noqa: ARG002 - the parser has read the end
        """Return whether the stream had an item."""
        return self._has_item


def get_added_member(raw: RawRequest, quirks: Quirks) -> bytes:  # noqa: ARG001 - as `RelayRules` has it
    """Nothing is added."""
    return b""


def is_withheld(event: bytes) -> bool:  # noqa: ARG001 - as `RelayRules` has it
    """Every event is passed on."""
    return False


RESPONSES_RELAY = RelayRules(
    is_unchanged=is_unchanged,
    checks_capabilities=True,
    own_fields=(b'"fallbacks"',),
    get_added_member=get_added_member,
    is_withheld=is_withheld,
    is_well_formed=is_well_formed,
    decode_text=decode_relayed_text,
    make_checker=EventChecker,
    model_places=("", "response"),
    end_mark=b"",
)
