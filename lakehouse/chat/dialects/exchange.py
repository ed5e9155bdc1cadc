"""One call: what is sent, and how what comes back is read."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal

from msgspec import UNSET

from lakehouse.chat.dialects.base import MAX_ANSWER, Changes, Dialect, Quirks, StreamParser
from lakehouse.chat.dialects.conversation import fitted
from lakehouse.chat.dialects.framing.lines import BOM
from lakehouse.chat.dialects.schema.validate import AnswerValidator
from lakehouse.chat.dialects.tools import tool_names
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import (
    ContentPiece,
    Delta,
    DetailedContentPiece,
    ReasoningPiece,
    SupplementPiece,
    ToolCallPiece,
)
from lakehouse.chat.model.request import Request
from lakehouse.chat.model.usage import Usage
from lakehouse.core.errors import ErrBadRequest
from lakehouse.core.provider_failures import failure

STREAM_MARKS = (b"data:", b"event:", b"id:", b"retry:", b":")
"""How server-sent events begin. JSON never does, so an answer shows its form whatever its content type says."""


class CallCodec:
    """One request in one dialect, and the reading of its answer.

    `body` is what to post to `path`, `changes` what of the request is not in it as the caller wrote it. Raises
    `ErrBadRequest` naming the field when the request cannot be said so, or when its `format` is no JSON schema.
    """

    def __init__(self, dialect: Dialect, request: Request, *, model: str, stream: bool, quirks: Quirks) -> None:
        self.path = dialect.path
        self._dialect = dialect
        self._quirks = quirks
        self.changes = Changes()
        try:
            self._check = None if request.format is None else AnswerValidator(request.format, provider=quirks.provider)
            request = fitted(request, dialect.capabilities, quirks, self.changes)
            self.body = dialect.encode(request, model=model, stream=stream, quirks=quirks, changes=self.changes)
        except (RecursionError, OverflowError):
            message = "a JSON schema of the request (`format`, `tools`) is too large or nested too deeply"
            raise ErrBadRequest(message) from None
        if request.tools:
            self._quirks = replace(quirks, tool_names=tool_names(request.tools))

    def decode(self, body: bytes) -> ProviderAnswer:
        """A whole answer, and the fold of a stream that came although none was asked for. Raises as `Dialect.decode`,
        and `upstream_error` for an answer that does not fit `format`."""
        whole = not self._comes_in_pieces(body)
        reply = self._dialect.decode(body, quirks=self._quirks) if whole else self._fold(body)
        return reply if self._check is None else self._check.validated(reply)

    def parser(self) -> StreamParser:
        """A reader of the stream, and of a whole answer that came instead. Raises as `StreamParser`, and at the end
        `upstream_error` for an answer that does not fit `format`."""
        parser: StreamParser = StreamOrBodyParser(self._dialect, self._quirks)
        if self._check is None:
            return parser
        enforced = self._quirks.schema == "native" and "native" in self._dialect.schema_steps
        return ValidatingParser(parser, self._check, live=enforced)

    def _comes_in_pieces(self, body: bytes) -> bool:
        """Whether a body is a stream. Of Ollama's, one line is the same whole and streamed."""
        if self._dialect.framing == "sse" and body.startswith(b"{"):
            return False
        start = _beginning(body)
        if self._dialect.framing == "ndjson" and len(start.split(b"\n", 2)) < 2:
            return False
        return _form(start, self._dialect) == "stream"

    def _fold(self, body: bytes) -> ProviderAnswer:
        parser = self._dialect.parser(quirks=self._quirks)
        parser.feed(body)
        return parser.end()


def _form(start: bytes, dialect: Dialect) -> Literal["stream", "body", "unknown"]:
    """What an answer is that begins like this, white space and byte order mark left out; some need more of it to say.

    A body is also what is neither, an HTML page for instance: it is refused as a whole, with what it says.
    """
    if BOM.startswith(start):
        return "unknown"
    if dialect.framing == "ndjson":
        if not re.match(rb"\{[ \t\r]*[^ \t\r]", start):
            return "unknown" if re.fullmatch(rb"(\{[ \t\r]*)?", start) else "body"
        return "body" if re.match(rb"\{[ \t\r]*\n", start) else "stream"  # a line of a stream is not pretty-printed
    if start.startswith(STREAM_MARKS):
        return "stream"
    return "unknown" if any(mark.startswith(start) for mark in STREAM_MARKS) else "body"


def _beginning(data: bytes) -> bytes:
    return data.lstrip().removeprefix(BOM).lstrip()


class StreamOrBodyParser:
    """Reads a stream, unless what comes is one body: then that is kept, up to its bound, and read at the end."""

    def __init__(self, dialect: Dialect, quirks: Quirks) -> None:
        self._dialect = dialect
        self._quirks = quirks
        self._form: Literal["stream", "body", "unknown"] = "unknown"
        self._stream = dialect.parser(quirks=quirks)
        self._kept = bytearray()  # of a body all, of what is not known yet the beginning
        self._grown = False  # whether more of it was kept
        self._reply: ProviderAnswer | None = None

    @property
    def resolved(self) -> StreamParser:
        """See `StreamParser`."""
        return self._stream if self._form == "stream" else self

    @property
    def complete(self) -> bool:
        """See `StreamParser`."""
        return self._stream.complete or self._reply is not None

    @property
    def has_pending_error(self) -> bool:
        """See `StreamParser`."""
        return self._stream.has_pending_error

    @property
    def finished(self) -> bool:
        """See `StreamParser`."""
        return self._stream.finished

    @property
    def made_progress(self) -> bool:
        """See `StreamParser`."""
        return self._grown or self._stream.made_progress

    @property
    def usage(self) -> Usage:
        """See `StreamParser`."""
        return self._stream.usage if self._reply is None else self._reply.usage

    def feed(self, data: bytes) -> list[Delta]:
        """See `StreamParser`."""
        if self._form == "stream":
            return self._stream.feed(data)
        if self._form == "body":
            self._keep(data)
            return []
        kept = len(self._kept)
        data = _beginning(bytes(self._kept) + data)
        self._kept.clear()
        self._form = _form(data, self._dialect)
        if self._form == "stream":
            self._grown = False
            return self._stream.feed(data)
        self._keep(data)
        self._grown = len(data) > kept
        return []

    def flush(self) -> list[Delta]:
        """See `StreamParser`."""
        if self._form == "stream" or not self._kept:
            return self._stream.flush()
        if self._reply is not None:
            return []
        self._reply = self._dialect.decode(bytes(self._kept), quirks=self._quirks)
        return deltas_of(self._reply)

    def end(self) -> ProviderAnswer:
        """See `StreamParser`."""
        self.flush()
        return self._reply or self._stream.end()

    def _keep(self, data: bytes) -> None:
        if len(self._kept) + len(data) > MAX_ANSWER:
            name = self._quirks.provider
            message = f"{name}: the answer is over the bound of {MAX_ANSWER} bytes"
            raise failure("upstream_error", message, provider=name, upstream_status=200, retryable=False)
        self._kept += data
        self._grown = True


class ValidatingParser:
    """Reads an answer that has to fit `format`.

    `live`: its text is given out as it arrives, for the provider enforces the schema, and checked at the end. Else text
    is held back and only what is left of it without prose and fence is given out, in one piece, at the end.
    """

    def __init__(self, parser: StreamParser, check: AnswerValidator, *, live: bool) -> None:
        self._parser = parser
        self._check = check
        self._live = live
        self._reply: ProviderAnswer | None = None

    @property
    def resolved(self) -> StreamParser:
        """See `StreamParser`."""
        return self

    @property
    def complete(self) -> bool:
        """See `StreamParser`."""
        return self._parser.complete

    @property
    def has_pending_error(self) -> bool:
        """See `StreamParser`."""
        return self._parser.has_pending_error

    @property
    def finished(self) -> bool:
        """See `StreamParser`."""
        return self._parser.finished

    @property
    def made_progress(self) -> bool:
        """See `StreamParser`."""
        return self._parser.made_progress

    @property
    def usage(self) -> Usage:
        """See `StreamParser`."""
        return self._parser.usage

    def feed(self, data: bytes) -> list[Delta]:
        """See `StreamParser`."""
        return self._shown(self._parser.feed(data))

    def flush(self) -> list[Delta]:
        """See `StreamParser`."""
        if self._reply is not None:
            return []
        shown = self._shown(self._parser.flush())
        if self._live:
            return shown
        self._reply = self._check.validated(self._parser.end())
        return [*shown, *texts_of(self._reply)]

    def end(self) -> ProviderAnswer:
        """See `StreamParser`."""
        self.flush()
        if self._reply is None:
            self._reply = self._check.validated(self._parser.end(), as_it_is=True)
        return self._reply

    def _shown(self, deltas: list[Delta]) -> list[Delta]:
        return deltas if self._live else [delta for delta in deltas if not _of_text(delta)]


def _of_text(delta: Delta) -> bool:
    """Whether it is text, or is about its tokens."""
    return isinstance(delta, ContentPiece) or (isinstance(delta, SupplementPiece) and delta.logprobs is not UNSET)


def deltas_of(reply: ProviderAnswer) -> list[Delta]:
    """A whole answer as a stream would have told it."""
    beside = {name: getattr(reply.supplements, name) for name in ("annotations", "images", "audio")}
    return [
        *([ReasoningPiece(reply.reasoning)] if reply.reasoning else []),
        *texts_of(reply),
        *map(ToolCallPiece, reply.tool_calls),
        *([SupplementPiece(**beside)] if any(value is not UNSET for value in beside.values()) else []),
    ]


def texts_of(reply: ProviderAnswer) -> list[Delta]:
    """The text of a whole answer, its refusal, and the probabilities of their tokens."""
    logprobs, refused = reply.supplements.logprobs, reply.supplements.refusal or ""
    text = reply.content.removesuffix(refused)
    deltas: list[Delta] = [ContentPiece(text)] if text else []
    if refused:
        deltas.append(DetailedContentPiece(refused, refusal=True))
    if logprobs is UNSET:
        return deltas
    if text and not refused:
        return [DetailedContentPiece(text, logprobs=logprobs)]
    return [*deltas, SupplementPiece(logprobs=logprobs)]
