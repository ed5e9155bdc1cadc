"""From an answer, or the pieces of one, to OpenAI's form."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from lakehouse.chat.api import answers, sse, surroundings
from lakehouse.chat.api.answers import Whole
from lakehouse.chat.api.interface import Pieces
from lakehouse.chat.api.openai_errors import envelope, headers_of, status_of
from lakehouse.chat.api.openai_shapes import (
    AnswerChoice,
    AnswerMessage,
    CachedTokens,
    Chunk,
    ChunkChoice,
    ChunkDelta,
    Completion,
    CompletionUsage,
    ReasoningTokens,
    ToolCallDelta,
)
from lakehouse.chat.request import (
    Answer,
    AnyToolCall,
    ContentPiece,
    CustomToolCall,
    Delta,
    Done,
    Piece,
    ReasoningPiece,
    ToolCallPiece,
)
from lakehouse.errors import Attempt, LakehouseError
from lakehouse.observe.inflight import Flight

END = b"data: [DONE]\n\n"
NOTHING_COUNTED = CompletionUsage()
BLANK = b'"content":""'

_encode = msgspec.json.Encoder().encode


def completion(answer: Answer) -> Completion:
    """A whole answer. `content` is null only where tool calls stand in its place, as with OpenAI."""
    message = AnswerMessage(
        content=None if answer.tool_calls and not answer.content else answer.content,
        reasoning_content=answer.reasoning or UNSET,
        reasoning_details=answer.reasoning_details,
        tool_calls=answer.tool_calls or UNSET,
    )
    return Completion(
        id=new_id(),
        created=int(time.time()),
        model=answer.model,
        provider=answer.provider,
        choices=(AnswerChoice(message=message, finish_reason=answer.finish_reason),),
        usage=usage(answer),
        attempts=answer.attempts,
    )


def new_id() -> str:
    """A name for one answer, like no other."""
    return f"chatcmpl-{secrets.token_hex(14)}"


def usage(counted: Answer | Done) -> CompletionUsage | UnsetType:
    """The counts under OpenAI's names, unset where there are none. OpenAI's clients take each count for an integer, so
    an unknown one is left out; the total is given only where both its parts are known."""
    read, written = counted.input_tokens, counted.output_tokens
    found = CompletionUsage(
        prompt_tokens=UNSET if read is None else read,
        completion_tokens=UNSET if written is None else written,
        total_tokens=UNSET if read is None or written is None else read + written,
        prompt_tokens_details=UNSET if counted.cached_tokens is None else CachedTokens(counted.cached_tokens),
        completion_tokens_details=(
            UNSET if counted.reasoning_tokens is None else ReasoningTokens(counted.reasoning_tokens)
        ),
        cost=UNSET if counted.cost_usd is None else counted.cost_usd,
    )
    return UNSET if found == NOTHING_COUNTED else found


class Chunks:
    """The events of one stream: the role in the first delta, tool calls numbered, usage at the end if it was wanted."""

    def __init__(self, flight: Flight | None, *, include_usage: bool = False) -> None:
        self._flight = flight
        self._id = new_id()
        self._created = int(time.time())
        self._include_usage = include_usage
        self._role: Literal["assistant"] | UnsetType = "assistant"
        self._calls = 0
        self._model = self._provider = ""  # for which the next two were written
        self._before = self._after = b""

    def events(self, batch: Sequence[Piece], pieces: Pieces) -> bytes:
        """A chunk for each piece; `Done` becomes the finish reason, the usage, and the end mark."""
        if pieces.model != self._model or pieces.provider != self._provider:
            self._write_around(pieces)
        events: list[bytes] = []
        for piece in batch:
            if isinstance(piece, ContentPiece) and self._role is UNSET:  # what nearly every piece is
                text = _encode(piece.text)
                events += (self._before, text if text.isascii() else sse.escape(text), self._after)
            else:
                events.append(self._end(piece) if isinstance(piece, Done) else self._more(piece, pieces))
        return b"".join(events)

    def last_words(self, error: LakehouseError) -> bytes:
        """The error's envelope, and no end mark after it."""
        return sse.event(msgspec.json.encode(self._envelope(error)))

    def refusal(self, error: LakehouseError) -> Whole:
        """The error's envelope with its status."""
        headers = headers_of(error)
        return answers.refusal(error, self._envelope(error), status_of(error), headers)

    def _envelope(self, error: LakehouseError) -> dict[str, object]:
        return envelope(error, surroundings.request_id(self._flight))

    def _more(self, piece: Delta, pieces: Pieces) -> bytes:
        role, self._role = self._role, UNSET
        match piece:
            case ContentPiece(text=text):
                delta = ChunkDelta(role=role, content=text)
            case ReasoningPiece(text=text):
                delta = ChunkDelta(role=role, reasoning_content=text)
            case ToolCallPiece(tool_call=call):
                delta = ChunkDelta(role=role, tool_calls=(self._numbered(call),))
        return self._event((ChunkChoice(delta=delta),), pieces)

    def _write_around(self, pieces: Pieces) -> None:
        """All of an event that is more text, but that text: the same for all pieces of one route."""
        blank = self._event((ChunkChoice(delta=ChunkDelta(content="")),), pieces)
        before, _, self._after = blank.rpartition(BLANK)  # within a name its quotes would be escaped
        self._before = before + BLANK[:-2]
        self._model, self._provider = pieces.model, pieces.provider

    def _numbered(self, call: AnyToolCall) -> ToolCallDelta:
        index, self._calls = self._calls, self._calls + 1
        if isinstance(call, CustomToolCall):
            return ToolCallDelta(index=index, id=call.id, type="custom", custom=call.custom)
        return ToolCallDelta(index=index, id=call.id, function=call.function)

    def _end(self, done: Done) -> bytes:
        delta = ChunkDelta(role=self._role, reasoning_details=done.reasoning_details)
        last = self._event((ChunkChoice(delta=delta, finish_reason=done.finish_reason),), done, attempts=done.attempts)
        counted = usage(done) if self._include_usage else UNSET
        last += b"" if counted is UNSET else self._event((), done, usage=counted)
        return last + END

    def _event(
        self,
        choices: tuple[ChunkChoice, ...],
        served: Pieces | Done,
        *,
        usage: CompletionUsage | None = None,
        attempts: tuple[Attempt, ...] | UnsetType = UNSET,
    ) -> bytes:
        chunk = Chunk(
            id=self._id,
            created=self._created,
            model=served.model,
            provider=served.provider,
            choices=choices,
            usage=usage if self._include_usage else UNSET,
            attempts=attempts,
        )
        return sse.event(msgspec.json.encode(chunk))
