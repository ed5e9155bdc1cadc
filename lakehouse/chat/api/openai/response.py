"""Converts answers and pieces to OpenAI's form."""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import getrandbits
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from lakehouse.asgi import sse
from lakehouse.chat.api.openai.errors import make_envelope
from lakehouse.chat.api.openai.types import (
    AnswerChoice,
    AnswerMessage,
    ChunkChoice,
    ChunkDelta,
    Completion,
    CompletionChunk,
    CompletionUsage,
    ToolCallDelta,
)
from lakehouse.chat.api.protocols import Pieces
from lakehouse.chat.model.answer import Answer, FinishReason
from lakehouse.chat.model.parts import JsonObject
from lakehouse.chat.model.pieces import (
    ContentPiece,
    DetailedContentPiece,
    Done,
    Piece,
    ReasoningDetailsPiece,
    ReasoningPiece,
    RelayedPiece,
    SupplementPiece,
    ToolCallPiece,
    VisibleDelta,
)
from lakehouse.chat.model.tool_calls import AnyToolCall, CustomToolCall
from lakehouse.core.errors import Attempt, LakehouseError

END_MARK = b"data: [DONE]\n\n"
FINAL_FIELDS = ("service_tier", "system_fingerprint", "moderation", "citations", "search_results")
"""Fields of `Done` that the last chunks of a stream carry."""

EMPTY_CONTENT = b'"content":""'

_encode = msgspec.json.Encoder().encode


def make_completion(answer: Answer) -> Completion:
    """A complete answer."""
    return Completion(
        id=make_id(),
        created=int(time.time()),
        model=answer.model,
        provider=answer.provider,
        choices=(make_choice(answer),),
        usage=make_usage(answer),
        attempts=answer.attempts,
        service_tier=answer.service_tier,
        system_fingerprint=answer.system_fingerprint,
        moderation=answer.moderation,
        citations=answer.citations,
        search_results=answer.search_results,
    )


def make_choice(answer: Answer) -> AnswerChoice:
    """The only choice of an answer. `content` is null only if a refusal, tool calls, audio or images replace it."""
    refused = answer.refusal or ""
    content = answer.content.removesuffix(refused)
    instead = answer.tool_calls or refused or answer.audio or answer.images
    message = AnswerMessage(
        content=None if instead and not content else content,
        refusal=refused or None,
        reasoning_content=answer.reasoning or UNSET,
        reasoning_details=answer.reasoning_details,
        tool_calls=answer.tool_calls or UNSET,
        annotations=answer.annotations,
        images=answer.images,
        audio=answer.audio,
    )
    return AnswerChoice(
        message=message,
        logprobs=answer.logprobs or None,
        finish_reason=_convert_reason(answer.finish_reason, refused=bool(refused)),
    )


def _convert_reason(reason: FinishReason, *, refused: bool) -> FinishReason:
    """OpenAI's finish reason. A refusal by the model itself is a finished answer: clients read its `refusal`, and take
    `content_filter` for an answer that was withheld."""
    return "stop" if refused and reason == "content_filter" else reason


def make_id() -> str:
    """A new, unique id for one answer."""
    return f"chatcmpl-{getrandbits(112):028x}"


def make_usage(counted: Answer | Done) -> CompletionUsage | UnsetType:
    """The counts under OpenAI's names, unset unless both input and output were counted: OpenAI's clients take these two
    and their total for integers wherever there is usage."""
    read, written = counted.input_tokens, counted.output_tokens
    if read is None or written is None:
        return UNSET
    return CompletionUsage(
        prompt_tokens=read,
        completion_tokens=written,
        total_tokens=read + written,
        prompt_tokens_details=_details("cached_tokens", counted.cached_tokens, counted.input_details),
        completion_tokens_details=_details("reasoning_tokens", counted.reasoning_tokens, counted.output_details),
        cost=UNSET if counted.cost_usd is None else counted.cost_usd,
    )


def _details(name: str, count: int | None, others: JsonObject | UnsetType) -> JsonObject | UnsetType:
    """The details of a count; `name` is the one that has a field of its own in the native form."""
    own = {} if count is None else {name: count}
    return {**(others or {}), **own} or UNSET


class ChunkEncoder:
    """Encodes one stream: the role in the first delta, numbered tool calls, and the usage at the end if requested."""

    def __init__(self, request_id: str, *, include_usage: bool = False) -> None:
        self._request_id = request_id
        self._id = make_id()
        self._created = int(time.time())
        self._include_usage = include_usage
        self._role: Literal["assistant"] | UnsetType = "assistant"
        self._calls = 0
        self._refused = False
        self._model = self._provider = ""  # the route that the template was made for
        self._template_start = self._template_end = b""

    def encode_events(self, batch: Sequence[Piece], pieces: Pieces) -> bytes:
        """A chunk for each piece but `ReasoningDetailsPiece`, whose entries `Done` has; `Done` becomes the finish
        reason, the usage, and the end mark."""
        if pieces.model != self._model or pieces.provider != self._provider:
            self._update_template(pieces)
        events: list[bytes] = []
        for piece in batch:
            if type(piece) is ContentPiece and self._role is UNSET:  # nearly every piece
                text = _encode(piece.text)
                events += (
                    self._template_start,
                    text if text.isascii() else sse.escape_line_ends(text),
                    self._template_end,
                )
            elif not isinstance(piece, ReasoningDetailsPiece | RelayedPiece):
                events.append(self._encode_end(piece) if isinstance(piece, Done) else self._encode_piece(piece, pieces))
        return b"".join(events)

    def encode_error(self, error: LakehouseError) -> bytes:
        """The error's envelope, and no end mark after it."""
        return sse.encode_event(msgspec.json.encode(make_envelope(error, self._request_id)))

    def _encode_piece(self, piece: VisibleDelta, pieces: Pieces) -> bytes:
        role, self._role = self._role, UNSET
        logprobs: JsonObject | UnsetType = UNSET
        match piece:
            case DetailedContentPiece(text=text, logprobs=logprobs, refusal=True):
                self._refused = True
                delta = ChunkDelta(role=role, refusal=text)
            case DetailedContentPiece(text=text, logprobs=logprobs):
                delta = ChunkDelta(role=role, content=text)
            case SupplementPiece(annotations=annotations, images=images, audio=audio, logprobs=logprobs):
                delta = ChunkDelta(role=role, annotations=annotations, images=images, audio=audio)
            case ContentPiece(text=text):
                delta = ChunkDelta(role=role, content=text)
            case ReasoningPiece(text=text):
                delta = ChunkDelta(role=role, reasoning_content=text)
            case ToolCallPiece(tool_call=call):
                delta = ChunkDelta(role=role, tool_calls=(self._number_call(call),))
        return self._encode_chunk((ChunkChoice(delta=delta, logprobs=logprobs),), pieces)

    def _update_template(self, pieces: Pieces) -> None:
        """Make the bytes around the text of a content chunk, which are the same for all pieces of one route."""
        blank = self._encode_chunk((ChunkChoice(delta=ChunkDelta(content="")),), pieces)
        before, _, self._template_end = blank.rpartition(EMPTY_CONTENT)  # in a name the quotes would be escaped
        self._template_start = before + EMPTY_CONTENT[:-2]
        self._model, self._provider = pieces.model, pieces.provider

    def _number_call(self, call: AnyToolCall) -> ToolCallDelta:
        index, self._calls = self._calls, self._calls + 1
        if isinstance(call, CustomToolCall):
            return ToolCallDelta(index=index, id=call.id, type="custom", custom=call.custom)
        return ToolCallDelta(index=index, id=call.id, function=call.function)

    def _encode_end(self, done: Done) -> bytes:
        delta = ChunkDelta(role=self._role, reasoning_details=done.reasoning_details)
        reason = _convert_reason(done.finish_reason, refused=self._refused)
        last = self._encode_chunk((ChunkChoice(delta=delta, finish_reason=reason),), done, attempts=done.attempts)
        counted = make_usage(done) if self._include_usage else UNSET
        last += b"" if counted is UNSET else self._encode_chunk((), done, usage=counted)
        return last + END_MARK

    def _encode_chunk(
        self,
        choices: tuple[ChunkChoice, ...],
        served: Pieces | Done,
        *,
        usage: CompletionUsage | None = None,
        attempts: tuple[Attempt, ...] | UnsetType = UNSET,
    ) -> bytes:
        chunk = CompletionChunk(
            id=self._id,
            created=self._created,
            model=served.model,
            provider=served.provider,
            choices=choices,
            usage=usage if self._include_usage else UNSET,
            attempts=attempts,
        )
        if isinstance(served, Done):
            chunk = msgspec.structs.replace(chunk, **{name: getattr(served, name) for name in FINAL_FIELDS})
        return sse.encode_event(msgspec.json.encode(chunk))
