"""Parser for an upstream that may answer a request for a stream with one whole body.

The content type is not evidence: servers mislabel both. The first bytes are.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from lakehouse.chat.dialects.base import MAX_ANSWER, Dialect, StreamParser
from lakehouse.chat.dialects.decoding.delegating_parser import DelegatingParser
from lakehouse.chat.dialects.decoding.deltas import build_deltas
from lakehouse.chat.dialects.framing.lines import BOM
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import Delta
from lakehouse.chat.model.usage import Usage
from lakehouse.core.provider_failures import make_failure

SSE_PREFIXES = (b"data:", b"event:", b"id:", b"retry:", b":")
"""Beginnings of server-sent events. JSON never begins so."""


class AnswerKind(Enum):
    """Whether an answer is a stream or a whole body. UNKNOWN becomes STREAM or BODY with the first bytes that decide
    it, and stays so."""

    UNKNOWN = auto()
    STREAM = auto()
    BODY = auto()


def detect_kind(start: bytes, dialect: Dialect) -> AnswerKind:
    """Return the kind of an answer that begins with `start` (`strip_start`); UNKNOWN if that needs more bytes.

    Anything that is no stream is a body, an HTML page for instance: decoding rejects it as a whole, with an excerpt.
    """
    if BOM.startswith(start):
        return AnswerKind.UNKNOWN
    if dialect.framing == "ndjson":
        if not re.match(rb"\{[ \t\r]*[^ \t\r]", start):
            return AnswerKind.UNKNOWN if re.fullmatch(rb"(\{[ \t\r]*)?", start) else AnswerKind.BODY
        # A line of a stream is not pretty-printed.
        return AnswerKind.BODY if re.match(rb"\{[ \t\r]*\n", start) else AnswerKind.STREAM
    if start.startswith(SSE_PREFIXES):
        return AnswerKind.STREAM
    return AnswerKind.UNKNOWN if any(prefix.startswith(start) for prefix in SSE_PREFIXES) else AnswerKind.BODY


def is_streamed(body: bytes, dialect: Dialect) -> bool:
    """Return whether a complete body is a stream. One line of Ollama's is the same whole and streamed: no stream."""
    if dialect.framing == "sse" and body.startswith(b"{"):
        return False
    start = strip_start(body)
    if dialect.framing == "ndjson" and len(start.split(b"\n", 2)) < 2:
        return False
    return detect_kind(start, dialect) is AnswerKind.STREAM


def strip_start(data: bytes) -> bytes:
    """Return `data` without leading white space and byte order mark."""
    return data.lstrip().removeprefix(BOM).lstrip()


class StreamOrBodyParser(DelegatingParser):
    """Parses a stream with the dialect's parser; keeps one whole body, up to `MAX_ANSWER`, and decodes it at the end.

    Raises as `StreamParser`.
    """

    def __init__(self, dialect: Dialect, quirks: Quirks) -> None:
        super().__init__(dialect.make_parser(quirks=quirks))
        self._dialect = dialect
        self._quirks = quirks
        self._kind = AnswerKind.UNKNOWN
        self._kept = bytearray()  # BODY: all bytes; UNKNOWN: the beginning
        self._kept_more = False  # the last `feed` added to `_kept`
        self._answer: ProviderAnswer | None = None  # the decoded body

    @property
    def active_parser(self) -> StreamParser:
        """The dialect's own parser once the answer is known to be a stream."""
        return self._inner if self._kind is AnswerKind.STREAM else self

    @property
    def complete(self) -> bool:
        """True once a stream is complete, or a body has been decoded."""
        return self._inner.complete or self._answer is not None

    @property
    def made_progress(self) -> bool:
        """True if the last `feed` added to the body, or consumed part of a streamed answer."""
        return self._kept_more or self._inner.made_progress

    @property
    def usage(self) -> Usage:
        """Tokens and cost read so far."""
        return self._inner.usage if self._answer is None else self._answer.usage

    def feed(self, data: bytes) -> list[Delta]:
        """Parse bytes of a stream; keep bytes of a body."""
        if self._kind is AnswerKind.STREAM:
            return self._inner.feed(data)
        if self._kind is AnswerKind.BODY:
            self._keep(data)
            return []
        size = len(self._kept)
        data = strip_start(bytes(self._kept) + data)
        self._kept.clear()
        self._kind = detect_kind(data, self._dialect)
        if self._kind is AnswerKind.STREAM:
            self._kept_more = False
            return self._inner.feed(data)
        self._keep(data)
        self._kept_more = len(data) > size
        return []

    def flush(self) -> list[Delta]:
        """Flush the stream, or decode the body and return its deltas."""
        if self._kind is AnswerKind.STREAM or not self._kept:
            return self._inner.flush()
        if self._answer is not None:
            return []
        self._answer = self._dialect.decode(bytes(self._kept), quirks=self._quirks)
        return build_deltas(self._answer)

    def end(self) -> ProviderAnswer:
        """Return the whole answer."""
        self.flush()
        return self._answer or self._inner.end()

    def _keep(self, data: bytes) -> None:
        if len(self._kept) + len(data) > MAX_ANSWER:
            provider = self._quirks.provider
            message = f"{provider}: the answer is over the bound of {MAX_ANSWER} bytes"
            raise make_failure("upstream_error", message, provider=provider, upstream_status=200, retryable=False)
        self._kept += data
        self._kept_more = True
