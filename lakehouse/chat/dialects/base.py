"""The interface of a dialect: one wire format for requests and answers.

A dialect is pure code: it turns a request into bytes and bytes into an answer. It opens no socket, waits for nothing
and imports neither trio nor httpx. Differences between providers that share a dialect are data (`quirks.Quirks`), never
a branch on a provider's name. A provider is a dialect plus facts.

    encode(request, model=..., stream=..., quirks=..., changes=...) -> body to POST to base URL + `path`
    decode(body, quirks=...)                                        -> ProviderAnswer   (whole body)
    make_parser(quirks=...)                                         -> StreamParser     (streamed body)

`call_codec.CallCodec` combines the three for one call. It adds what does not depend on the dialect: a streamed answer
to a request for a whole one and the reverse, and the check of an answer against a JSON schema. Every failure is a
`LakehouseError` with an error class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from lakehouse.chat.dialects.quirks import Capability, JsonMode, Quirks
from lakehouse.chat.dialects.relay.rules import RelayRules
from lakehouse.chat.dialects.request_changes import RequestChanges
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import Delta
from lakehouse.chat.model.request import Request
from lakehouse.chat.model.usage import Usage

Form = Literal["chat_completions", "messages", "responses", "ollama", "generate_content"]

MAX_LINE = 8 * 1024 * 1024
"""Bytes of one line or event of a stream. Ollama sends a tool call in one line, and its own client allows 8 MB."""

MAX_ANSWER = 32 * 1024 * 1024
"""Bytes of a whole body, and the sum of the characters of text, reasoning and arguments of a stream. Framing does not
count: a long stream carries hundreds of framing bytes per token, and none of them is kept."""


class StreamParser(Protocol):
    """Parser of one streamed answer: `feed` for each read, `flush` once at the end of the body, then `end`.

    Any split of the same bytes gives the same deltas. Comments and events without content give none.
    """

    @property
    def active_parser(self) -> StreamParser:
        """The parser to use for the rest of this stream: this one, or the inner parser that it has selected. Read it
        between two calls."""

    @property
    def complete(self) -> bool:
        """True once the finish reason or the end mark has been read: `end` will not raise `incomplete_stream`."""

    @property
    def has_pending_error(self) -> bool:
        """True if an error was found after the deltas that `feed` has just returned; the next call raises the error."""

    @property
    def finished(self) -> bool:
        """True once the end mark has been read. Only usage and cost may follow, which are worth a short wait."""

    @property
    def made_progress(self) -> bool:
        """True if the last `feed` consumed part of the answer, even without a delta (tool-call fragment, text that is
        held back). False for comments and empty events. Used to reset the idle timer when `feed` returned nothing."""

    @property
    def usage(self) -> Usage:
        """Tokens and cost read so far."""

    def feed(self, data: bytes) -> list[Delta]:
        """Parse the next bytes and return their deltas.

        Raises a `LakehouseError` for an error that the provider sent, `incomplete_stream` for an unreadable event that
        may have held part of the answer, and `upstream_error` beyond a size limit. The error is raised at once if these
        bytes gave no delta before it, otherwise by the next call. Every later call raises the same error.
        """

    def feed_text(self, data: bytes) -> bool:
        """`feed` for bytes that are known to be whole events with text only, without deltas. False if they are not, or
        if the parser does not know: nothing was consumed then."""

    def count_text_events(self, events: Sequence[bytes], start: int) -> int:
        """How many of these whole events from `start` on look like those that `feed_text` takes, without a gap."""

    def flush(self) -> list[Delta]:
        """Return what was held back, including a last event without its blank line. To be called at the end of the
        body. Raises as `feed`."""

    def end(self) -> ProviderAnswer:
        """Return the whole answer, the sum of the deltas. Calls `flush` if the caller did not.

        Raises `incomplete_stream` if the stream ended before the answer was complete, and `empty_response` for an
        answer without text, reasoning and tool calls.
        """


class EncodeFunction(Protocol):
    """Writes the body of a request."""

    def __call__(self, request: Request, *, model: str, stream: bool, quirks: Quirks, changes: RequestChanges) -> bytes:
        """Return the JSON body that requests `model` (the provider's own name). Fields that are not sent as the caller
        wrote them are recorded in `changes`.

        Raises `ErrBadRequest` naming the field if the dialect or the provider does not support it.
        """


class DecodeFunction(Protocol):
    """Reads a whole answer."""

    def __call__(self, body: bytes, *, quirks: Quirks) -> ProviderAnswer:
        """Return the answer. Raises the classified error of an error body, `empty_response` for an answer without
        content and `upstream_error` for an unknown shape."""


class ParserFactory(Protocol):
    """Creates the parser of one streamed answer."""

    def __call__(self, *, quirks: Quirks) -> StreamParser:
        """Return a new parser."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A wire format, shared by a family of providers."""

    form: Form
    """The name of the format."""
    path: str
    """Where requests are posted, below the provider's base URL: `/chat/completions`."""
    framing: Literal["sse", "ndjson"]
    """How a stream is divided into events."""
    json_modes: tuple[JsonMode, ...]
    """The ways to request JSON that the dialect supports, the strictest first."""
    capabilities: frozenset[Capability]
    """What the dialect can represent in a conversation."""
    encode: EncodeFunction
    decode: DecodeFunction
    make_parser: ParserFactory
    relay: RelayRules | None = None
    """How requests and answers are relayed for clients of the same form; None: they are always rebuilt."""
