"""The path from bytes to answers that all dialects share.

A dialect supplies a `Reader`, which interprets the JSON objects of its format. This module finds the objects, raises
those that are errors, and decides about an event that cannot be decoded: before the answer is complete it may have held
a part of the answer, so the answer counts as cut; afterwards it is skipped. Data that is no JSON object or array at all
(`data: ping`) is always skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum, auto
from itertools import starmap
from typing import Protocol

from lakehouse.chat.dialects.base import MAX_ANSWER, StreamParser
from lakehouse.chat.dialects.decoding.answer_builder import AnswerBuilder
from lakehouse.chat.dialects.errors.classifier import classify_error_object
from lakehouse.chat.dialects.errors.redaction import redact_and_truncate
from lakehouse.chat.dialects.framing.lines import BOM, Framing, LineTooLong
from lakehouse.chat.dialects.lenient_json import JsonObject, decode_object
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import Delta
from lakehouse.chat.model.usage import Usage
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import make_failure

END_MARK = b"[DONE]"


class Reader(Protocol):
    """Interprets the JSON objects of one format and adds their content to `answer`."""

    answer: AnswerBuilder

    def read_body(self, document: JsonObject) -> None:
        """Read a whole answer."""

    def read_event(self, document: JsonObject, name: bytes) -> list[Delta]:
        """Read one event of a stream and return its deltas. `name` is the event's name, if the framing has names."""

    def read_trailer(self, document: JsonObject) -> None:
        """Read one event after the end mark, of which only usage and cost count."""


class FastPath(Protocol):
    """Decodes the most frequent events of a stream at lower cost than `Reader`, with the same result."""

    def match_events(self, data: bytes) -> list[str] | None:
        """Return the texts of `data` if it is whole events with text only; None: the reader must read them."""

    @property
    def frame(self) -> tuple[bytes, bytes] | None:
        """How an event that matches begins and ends; None: nothing matches yet."""

    def decode_text(self, data: bytes) -> str:
        """Return the text of one event with text only; empty: the reader must read it."""


class Phase(Enum):
    """State of an `EventParser`.

        phase       event complete   bytes left over   end mark   flush     error
        PARTIAL     BOUNDARY         PARTIAL           TRAILER    FLUSHED   FAILED
        BOUNDARY    BOUNDARY         PARTIAL           TRAILER    FLUSHED   FAILED
        TRAILER     TRAILER          TRAILER           TRAILER    FLUSHED   FAILED
        FLUSHED     FLUSHED          FLUSHED           FLUSHED    FLUSHED   FAILED
        FAILED      every call raises the error

    In BOUNDARY the next byte begins an event, so the fast path may match whole events. In TRAILER events count only for
    usage and cost.
    """

    PARTIAL = auto()
    BOUNDARY = auto()
    TRAILER = auto()
    FLUSHED = auto()
    FAILED = auto()


# Read for every chunk: a global costs half of a class attribute.
_PARTIAL, _BOUNDARY, _TRAILER, _FLUSHED, _FAILED = Phase


class EventParser:
    """A `StreamParser` made of a framing, a reader and optionally a fast path."""

    def __init__(self, framing: Framing, reader: Reader, fast_path: FastPath | None = None) -> None:
        self.made_progress = self.has_pending_error = self.finished = False  # attributes: read for every chunk
        self._framing = framing
        self._reader = reader
        self._fast_path = fast_path
        self._answer = reader.answer
        self._phase = _PARTIAL
        self._error: LakehouseError | None = None  # set in phase FAILED

    @property
    def active_parser(self) -> StreamParser:
        """This parser."""
        return self

    @property
    def complete(self) -> bool:
        """True once the finish reason or the end mark has been read."""
        return self._answer.complete

    @property
    def usage(self) -> Usage:
        """Tokens and cost read so far."""
        return self._answer.usage.build_usage()

    def feed(self, data: bytes) -> list[Delta]:
        """Parse the next bytes and return their deltas, see `StreamParser`."""
        answer = self._answer
        size = answer.size
        fast_path = self._fast_path if self._phase is _BOUNDARY else None
        if fast_path is not None and (texts := fast_path.match_events(data)) is not None:
            deltas = self._collect(map(answer.add_text, texts))
        else:
            deltas = self._collect(starmap(self._read_event, self._framing.feed(data)))
            self._phase = self._get_next_phase()
            self.finished = answer.finished
        self.made_progress = answer.size > size
        return deltas

    def feed_text(self, data: bytes) -> bool:
        """Consume whole events with text only, see `StreamParser`."""
        fast_path = self._fast_path if self._phase is _BOUNDARY else None
        texts = None if fast_path is None else fast_path.match_events(data)
        if texts is None:
            return False
        self.made_progress = bool(self._collect([self._answer.add_text("".join(texts))]))
        return True

    def count_text_events(self, events: Sequence[bytes], start: int) -> int:
        """How many events from `start` on look like text only, see `StreamParser`."""
        fast_path = self._fast_path if self._phase is _BOUNDARY else None
        frame = None if fast_path is None else fast_path.frame
        if frame is None:
            return 0
        head, tail = frame
        end = start
        while end < len(events) and events[end].startswith(head) and events[end].endswith(tail):
            end += 1
        return end - start

    def flush(self) -> list[Delta]:
        """Return what was held back, see `StreamParser`."""
        if self._phase is _FLUSHED:
            return []
        if self._error is None:
            self._phase = _FLUSHED
        return self._collect(starmap(self._read_event, self._framing.end()), last=True)

    def end(self) -> ProviderAnswer:
        """Return the whole answer, see `StreamParser`."""
        self.flush()
        if self._error is not None:
            raise self._error
        return self._answer.build_answer()

    def _get_next_phase(self) -> Phase:
        if self._phase is _FLUSHED or self._phase is _FAILED:
            return self._phase
        if self._answer.finished:
            return _TRAILER
        return _BOUNDARY if self._framing.at_event_start else _PARTIAL

    def _collect(self, batches: Iterable[list[Delta]], *, last: bool = False) -> list[Delta]:
        """Return the deltas of the events, read one after the other. An error is raised at once only if no delta came
        before it, otherwise by the next call: so the deltas do not depend on how the bytes were cut."""
        if self._error is not None:
            raise self._error
        deltas: list[Delta] = []
        try:
            for batch in batches:
                deltas += batch
            if last:
                deltas += self._answer.flush()
        except LineTooLong:
            self._error = self._answer.build_too_large_error("a line of the answer is over its bound")
        except LakehouseError as error:
            self._error = error
        if self._error is not None:
            self._phase = _FAILED
            self.has_pending_error = True
            if not deltas:
                raise self._error
        return deltas

    def _read_event(self, data: bytes, name: bytes = b"") -> list[Delta]:
        answer = self._answer
        if self._fast_path is not None and not answer.finished and (text := self._fast_path.decode_text(data)):
            return answer.add_text(text)
        if data.strip() == END_MARK:
            return self._read_end_mark()
        try:
            document = decode_object(data)
        except ValueError:
            return self._skip_or_raise(data)
        if answer.finished:
            self._reader.read_trailer(document)
            return []
        raise_for_error(document, provider=answer.provider)
        deltas = self._reader.read_event(document, name)
        return [*deltas, *answer.flush()] if answer.finished else deltas

    def _read_end_mark(self) -> list[Delta]:
        if self._answer.finished:
            return []
        self._answer.mark_finished()
        return self._answer.flush()

    def _skip_or_raise(self, data: bytes) -> list[Delta]:
        """Skip an event that cannot be decoded; raise if it may have held a part of the answer."""
        answer = self._answer
        if answer.complete or not data.lstrip().startswith((b"{", b"[")):
            return []
        message = f"the answer of {answer.provider} was cut: an event could not be read: {redact_and_truncate(data)}"
        raise make_failure("incomplete_stream", message, provider=answer.provider, upstream_status=200)


def decode_body(body: bytes, reader: Reader) -> ProviderAnswer:
    """Return a whole answer. Raises the classified error of an error body, `empty_response` for an empty one and
    `upstream_error` for anything else that is no answer."""
    answer = reader.answer
    if not body.strip():
        message = f"{answer.provider} answered with an empty body"
        raise make_failure("empty_response", message, provider=answer.provider, upstream_status=200)
    if len(body) > MAX_ANSWER:
        raise answer.build_too_large_error(f"the answer is over the bound of {MAX_ANSWER} bytes")
    try:
        document = decode_object(body.lstrip().removeprefix(BOM))
    except ValueError:
        raise answer.build_error(f"the answer is not a JSON object: {redact_and_truncate(body)}") from None
    raise_for_error(document, provider=answer.provider)
    reader.read_body(document)
    answer.flush()
    return answer.build_answer()


def raise_for_error(document: JsonObject, *, provider: str) -> None:
    """Raise the classified error of an error object that came with status 200: one with `error`, or with the type
    `error` (OpenAI's responses) or the object `error` (vLLM)."""
    if document.get("error") or "error" in (document.get("type"), document.get("object")):
        raise classify_error_object(document, provider=provider)
