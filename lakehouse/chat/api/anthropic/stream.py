"""Encodes streamed answers in Anthropic's form: a message, its blocks one after the other, and its end.

    message_start  ping  (content_block_start  content_block_delta*  content_block_stop)*  message_delta  message_stop

A block is open until a piece of another kind arrives. Reasoning has its signature before its block ends. Its block is
open until an answer begins: Claude Code repeats a request whose stream fails before the first block has ended.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lakehouse.asgi import sse
from lakehouse.chat.api.anthropic.errors import find_relayed_envelope, make_envelope
from lakehouse.chat.api.anthropic.response import (
    THINKING_BLOCKS,
    find_stop_reason,
    make_id,
    make_thinking_block,
    make_tool_use,
    make_usage,
)
from lakehouse.chat.api.anthropic.supplements import describe_image, make_citations
from lakehouse.chat.api.anthropic.tokens import estimate_size, estimate_tokens, measure
from lakehouse.chat.api.anthropic.types import MessageAnswer, MessageUsage
from lakehouse.chat.api.protocols import Pieces
from lakehouse.chat.api.reasoning_envelope import encode_details
from lakehouse.chat.dialects.tool_calls import UniqueIds, sanitize_id
from lakehouse.chat.model.parts import JsonObject
from lakehouse.chat.model.pieces import (
    ContentPiece,
    Done,
    Piece,
    ReasoningDetailsPiece,
    ReasoningPiece,
    SupplementPiece,
    ToolCallPiece,
)
from lakehouse.chat.model.request import AnthropicRequest
from lakehouse.core.errors import LakehouseError

_encode = msgspec.json.Encoder().encode


def encode_event(name: str, **fields: object) -> bytes:
    """One event, whose type is its name and in its data."""
    return b"event: %b\n" % name.encode() + sse.encode_event(_encode({"type": name, **fields}))


PING = encode_event("ping")
"""Clients take it for a sign of life."""


DELTA_START = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b_delta","%b":'
)
DELTA_END = b"}}\n\n"
"""What is around the text of a delta."""

SIGNED = "signed thinking"
"""The state of a block of thinking that has its signature, and is open until something follows it."""


class MessageEncoder:
    """Encodes one stream: a `StreamEncoder`."""

    def __init__(self, request_id: str, request: AnthropicRequest) -> None:
        self._request_id = request_id
        self._model = request.model  # the request itself is not kept: a stream lasts longer than it is needed
        self._tool_names = request.tool_names
        self._estimated_input = estimate_tokens(request.document)
        self._size = 0  # bytes of all content
        self._delta_start = b""
        self._started = False
        self._open = ""  # the type of the open block, or `SIGNED`
        self._index = -1  # of the last block
        self._ids = UniqueIds()

    def encode_events(self, batch: Sequence[Piece], _: Pieces) -> bytes:
        """The events for pieces that arrived together."""
        events = [] if self._started else [self._start()]
        for piece in batch:
            match piece:
                case ContentPiece(text=text):
                    events += [self._enter("text", text=""), self._text_delta(text)]
                case ReasoningPiece(text=text):
                    events += [self._enter("thinking", thinking="", signature=""), self._text_delta(text)]
                case SupplementPiece():
                    events.append(self._encode_supplement(piece))
                case ReasoningDetailsPiece(entries=entries):
                    events.append(self._encode_details(entries))
                case ToolCallPiece():
                    events.append(self._encode_call(piece))
                case Done():
                    events.append(self._encode_end(piece))
        return b"".join(events)

    def encode_error(self, error: LakehouseError) -> bytes:
        """The event of type `error`, and no end of the message after it."""
        envelope = find_relayed_envelope(error) or _encode(make_envelope(error, self._request_id))
        return b"event: error\n" + sse.encode_event(envelope.replace(b"\n", b" "))

    def _start(self) -> bytes:
        """The beginning of the message. Its input is estimated: some clients fail without a count, and the provider's
        own is at the end."""
        self._started = True
        usage = MessageUsage(
            input_tokens=self._estimated_input,
            cache_creation_input_tokens=0,
            cache_read_input_tokens=0,
            output_tokens=1,
        )
        message = MessageAnswer(
            id=make_id(), model=self._model, content=[], stop_reason=None, stop_sequence=None, usage=usage
        )
        return encode_event("message_start", message=message) + PING

    def _enter(self, kind: str, **fields: object) -> bytes:
        """Open a block, unless one of this type is open."""
        return b"" if self._open == kind else self._leave() + self._open_block(kind, fields)

    def _open_block(self, kind: str, fields: JsonObject) -> bytes:
        self._open = kind
        self._index += 1
        field = kind.encode()
        self._delta_start = DELTA_START % (self._index, field, field)
        return encode_event("content_block_start", index=self._index, content_block={"type": kind, **fields})

    def _text_delta(self, text: str) -> bytes:
        """More of the open block's text, in the bytes that are the same for all of it: nearly every piece is one."""
        encoded = _encode(text)
        self._size += len(encoded) - 2  # the quotes
        return self._delta_start + (encoded if text.isascii() else sse.escape_line_ends(encoded)) + DELTA_END

    def _delta(self, kind: str, **fields: object) -> bytes:
        return encode_event("content_block_delta", index=self._index, delta={"type": kind, **fields})

    def _encode_supplement(self, piece: SupplementPiece) -> bytes:
        """Citations of the text before them, or else of a block of their own, and text in place of images."""
        citations, events = make_citations(piece.annotations or ()), b""
        for image in piece.images or ():
            separator = "\n\n" if self._open == "text" else ""
            events += self._enter("text", text="") + self._text_delta(separator + describe_image(image))
        if citations:
            events += self._enter("text", text="")
        return events + b"".join([self._delta("citations_delta", citation=citation) for citation in citations])

    def _leave(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        return encode_event("content_block_stop", index=self._index)

    def _encode_details(self, entries: Sequence[JsonObject]) -> bytes:
        """The signature of the thinking that came before, or blocks without readable text."""
        own = [entry for entry in entries if entry.get("type") in THINKING_BLOCKS]
        readable = [entry for entry in own if entry["type"] == "thinking"]
        if not own or len(readable) > 1:
            return self._sign(encode_details(entries))
        return b"".join(map(self._encode_own, own))

    def _encode_own(self, entry: JsonObject) -> bytes:
        block = make_thinking_block(entry)
        if block["type"] == "thinking":
            return self._sign(block["signature"])
        return self._leave() + self._open_block("redacted_thinking", {"data": block["data"]})

    def _sign(self, signature: str) -> bytes:
        begun = self._enter("thinking", thinking="", signature="")
        self._open = SIGNED
        return begun + self._delta("signature_delta", signature=signature)

    def _encode_call(self, piece: ToolCallPiece) -> bytes:
        function = piece.tool_call.function
        name = self._tool_names.get(function.name, function.name)
        use = make_tool_use(self._ids.issue(sanitize_id(piece.tool_call.id)), name, {})
        self._size += measure(function.arguments)
        return (
            self._leave()
            + self._open_block(use.pop("type"), use)
            + self._delta("input_json_delta", partial_json=function.arguments)
            + self._leave()
        )

    def _encode_end(self, done: Done) -> bytes:
        usage = make_usage(done, estimated_input=self._estimated_input, estimated_output=estimate_size(self._size))
        delta = {"stop_reason": find_stop_reason(done), "stop_sequence": done.stop_sequence or None}
        return self._leave() + encode_event("message_delta", delta=delta, usage=usage) + encode_event("message_stop")
