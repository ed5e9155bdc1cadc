"""Reading answers: the way from bytes to what they say that all dialects share.

A dialect brings a `Reader`, which understands one JSON object of its form; this module finds the objects, refuses those
that are errors and knows what to make of one that cannot be read: before the answer is proven whole it may have held a
part of it, so the answer is cut; after that it is skipped. What is no JSON object at all (`data: ping`) never held any.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import starmap
from typing import Protocol

from lakehouse.chat.dialects.answer import AnswerBuilder
from lakehouse.chat.dialects.base import MAX_ANSWER, StreamParser
from lakehouse.chat.dialects.chat_completions.chunk_fast_path import ChunkFastPath
from lakehouse.chat.dialects.errors.classifier import refusal
from lakehouse.chat.dialects.errors.redaction import redact_and_truncate
from lakehouse.chat.dialects.framing.lines import BOM, Framing, LineTooLong
from lakehouse.chat.dialects.lenient_json import JsonObject, load_object
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import Delta
from lakehouse.chat.model.usage import Usage
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import failure

END_MARK = b"[DONE]"


class Reader(Protocol):
    """Understands the objects of one form and tells its answer what they say."""

    answer: AnswerBuilder

    def whole(self, document: JsonObject) -> None:
        """A whole answer."""

    def read(self, document: JsonObject, name: bytes) -> list[Delta]:
        """One event of a stream; `name` is the event's where the framing has names."""

    def account(self, document: JsonObject) -> None:
        """One event after the end mark: only its usage and cost are of interest."""


class Parser:
    """A `StreamParser` made of a framing and a reader; `glance` sees at less cost what the reader would mostly read."""

    def __init__(self, framing: Framing, reader: Reader, glance: ChunkFastPath | None = None) -> None:
        self.has_pending_error = self.finished = self.made_progress = False
        self._framing = framing
        self._reader = reader
        self._glance = glance
        self._glancing = False  # what comes next may be whole events, and nothing has ended yet
        self._answer = reader.answer
        self._flushed = False
        self._error: LakehouseError | None = None

    @property
    def resolved(self) -> StreamParser:
        """See `StreamParser`."""
        return self

    @property
    def complete(self) -> bool:
        """See `StreamParser`."""
        return self._answer.complete

    @property
    def usage(self) -> Usage:
        """See `StreamParser`."""
        return self._answer.meter.usage()

    def feed(self, data: bytes) -> list[Delta]:
        """See `StreamParser`."""
        said = self._answer.size
        if self._glancing and self._glance is not None and (texts := self._glance.match_events(data)) is not None:
            deltas = self._deltas(map(self._answer.content, texts))
        else:
            deltas = self._deltas(starmap(self._read, self._framing.feed(data)))
            self.finished = self._answer.finished
            self._glancing = self._framing.idle and not self.finished
        self.made_progress = self._answer.size > said
        return deltas

    def flush(self) -> list[Delta]:
        """See `StreamParser`."""
        if self._flushed:
            return self._deltas(())
        self._flushed = True
        return self._deltas(starmap(self._read, self._framing.end()), last=True)

    def end(self) -> ProviderAnswer:
        """See `StreamParser`."""
        self.flush()
        if self._error is not None:
            raise self._error
        return self._answer.reply()

    def _deltas(self, told: Iterable[list[Delta]], *, last: bool = False) -> list[Delta]:
        """What is told, one event after the other. An error is raised only when nothing was said before it, else by the
        next call: so what is said does not depend on how the bytes were cut."""
        if self._error is not None:
            raise self._error
        deltas: list[Delta] = []
        try:
            for more in told:
                deltas += more
            if last:
                deltas += self._answer.flush()
        except LineTooLong:
            self._error = self._answer.too_large("a line of the answer is over its bound")
        except LakehouseError as error:
            self._error = error
        self.has_pending_error = self._error is not None
        if self._error is not None and not deltas:
            raise self._error
        return deltas

    def _read(self, data: bytes, name: bytes = b"") -> list[Delta]:
        """What one event says."""
        answer = self._answer
        if self._glance is not None and not answer.finished and (text := self._glance.text(data)):
            return answer.content(text)
        if data.strip() == END_MARK:
            return self._mark()
        try:
            document = load_object(data)
        except ValueError:
            return self._unreadable(data)
        if self._answer.finished:
            self._reader.account(document)
            return []
        refuse_error(document, provider=self._answer.provider)
        deltas = self._reader.read(document, name)
        return [*deltas, *self._answer.flush()] if self._answer.finished else deltas

    def _mark(self) -> list[Delta]:
        if self._answer.finished:
            return []
        self._answer.finished = True
        return self._answer.flush()

    def _unreadable(self, data: bytes) -> list[Delta]:
        if self._answer.complete or not data.lstrip().startswith((b"{", b"[")):
            return []
        message = (
            f"the answer of {self._answer.provider} was cut: an event could not be read: {redact_and_truncate(data)}"
        )
        raise failure("incomplete_stream", message, provider=self._answer.provider, upstream_status=200)


def read_whole(body: bytes, reader: Reader) -> ProviderAnswer:
    """A whole answer. Raises the error that it is, and `upstream_error` for what is no answer."""
    answer = reader.answer
    if not body.strip():
        message = f"{answer.provider} answered with an empty body"
        raise failure("empty_response", message, provider=answer.provider, upstream_status=200)
    if len(body) > MAX_ANSWER:
        raise answer.too_large(f"the answer is over the bound of {MAX_ANSWER} bytes")
    try:
        document = load_object(body.lstrip().removeprefix(BOM))
    except ValueError:
        raise answer.failure(f"the answer is not a JSON object: {redact_and_truncate(body)}") from None
    refuse_error(document, provider=answer.provider)
    reader.whole(document)
    answer.flush()
    return answer.reply()


def refuse_error(document: JsonObject, *, provider: str) -> None:
    """Raises what an error envelope means that came with status 200: `error` says it, or the envelope's own type does
    (OpenAI's responses, vLLM's `{"object": "error"}`)."""
    if document.get("error") or "error" in (document.get("type"), document.get("object")):
        raise refusal(document, provider=provider)
