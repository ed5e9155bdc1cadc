"""One ask from the question to the checked answer: passages first, then a model's answer from them.

The whole of it has one deadline, `[chatd] timeout`, which counts from the beginning of the request; for a stream it
ends with the first piece of the answer. All of it runs in the caller's task or below, so a cancellation ends whichever
part is under way: the searches, the embedding behind them, or the call of the model.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any

import trio

from lakehouse.ask.answer import AskAnswer, AskDone, Passage, facts_of
from lakehouse.ask.citation_marks import CitationMarks
from lakehouse.ask.claims import split_claims
from lakehouse.ask.prompt import make_messages
from lakehouse.ask.request import AskRequest
from lakehouse.ask.retrieval import DataServices, Retrieved, retrieve
from lakehouse.chat.api.protocols import Dispatcher, Pieces
from lakehouse.chat.model.pieces import ContentPiece, Done, Piece, ReasoningPiece
from lakehouse.chat.model.request import Request
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrBadRequest
from lakehouse.core.groups import unwrap_single
from lakehouse.core.provider_failures import make_failure

AskEvent = ContentPiece | ReasoningPiece | AskDone
"""An event of a streamed answer. The last one is `AskDone`."""


class Asker:
    """Answers asks with a dispatcher and the data services."""

    def __init__(
        self, dispatcher: Dispatcher, services: DataServices, *, timeout: float, default_model: str | None = None
    ) -> None:
        """`timeout` is in seconds. Without `default_model` the first model that is listed is the default."""
        self._dispatcher = dispatcher
        self._services = services
        self._timeout = timeout
        self._default_model = default_model

    async def answer(self, request: AskRequest, *, context: RequestContext) -> AskAnswer:
        """The whole answer. Raises the errors of the services and of a chat."""
        found = await self._retrieve(request, context)
        if not found.passages:
            return AskAnswer(answer=None, warnings=found.warnings, latency_ms=_milliseconds(context))
        chat = await self._make_chat(request, found.passages)
        context.begin_step("answering")
        reply = await self._dispatcher(chat, context=context)
        marks = CitationMarks(len(found.passages))
        text = marks.feed(reply.content) + marks.finish()
        return AskAnswer(
            answer=text,
            **_check_answer(text, marks, found, context),
            reasoning=reply.reasoning,
            latency_ms=_milliseconds(context),
            **facts_of(reply),
        )

    def stream(
        self, request: AskRequest, *, context: RequestContext
    ) -> AbstractAsyncContextManager[AsyncIterator[Sequence[AskEvent]]]:
        """The answer as events that arrive together, never none. Raises what `answer` raises."""
        return self._stream(request, context)

    @asynccontextmanager
    async def _stream(
        self, request: AskRequest, context: RequestContext
    ) -> AsyncGenerator[AsyncIterator[Sequence[AskEvent]]]:
        found = await self._retrieve(request, context)
        if not found.passages:
            nothing = AskDone(answer=None, warnings=found.warnings, latency_ms=_milliseconds(context))
            async with aclosing(_iterate(nothing)) as events:
                yield events
            return
        chat = await self._make_chat(request, found.passages)
        context.begin_step("answering")
        async with (
            self._dispatcher.stream(chat, context=context) as pieces,
            aclosing(_check_stream(pieces, found, context)) as events,
        ):
            yield events

    async def _retrieve(self, request: AskRequest, context: RequestContext) -> Retrieved:
        """Raises ErrTimeout if the deadline passes before all searches have ended."""
        context.begin_step("retrieving")
        began, deadline = trio.current_time(), context.started + self._timeout
        before = context.shorten_deadline(deadline)
        try:
            with trio.CancelScope(deadline=deadline):
                found = await retrieve(request, self._services, context)
                context.record_passages(len(found.passages), trio.current_time() - began)
                return found
        except BaseExceptionGroup as group:
            raise unwrap_single(group) from None
        finally:
            context.restore_deadline(before)
            context.add_upstream_time(trio.current_time() - began)
        raise make_failure("timeout", f"timeout: the passages were not found within {self._timeout:g} s")

    async def _make_chat(self, request: AskRequest, passages: Sequence[Passage]) -> Request:
        return Request(
            model=request.model or self._default_model or await self._first_listed_model(),
            messages=make_messages(request.question, passages),
            fallbacks=request.fallbacks,
            stream=request.stream,
        )

    async def _first_listed_model(self) -> str:
        for card in await self._dispatcher.models():
            return card.id
        raise ErrBadRequest(
            "`model` is required: [models] has no tier, there is no embedded model, and no provider lists a model",
            field="model",
        )


async def _iterate(event: AskEvent) -> AsyncGenerator[Sequence[AskEvent]]:
    yield (event,)


async def _check_stream(
    pieces: Pieces, found: Retrieved, context: RequestContext
) -> AsyncGenerator[Sequence[AskEvent]]:
    """The events of a chat's stream, with its marks checked."""
    answer = _StreamedAnswer(found)
    async for batch in pieces.batches():
        if events := [event for piece in batch for event in answer.take(piece, context)]:
            yield events


class _StreamedAnswer:
    """The text of a stream so far, and its marks."""

    def __init__(self, found: Retrieved) -> None:
        self._found = found
        self._marks = CitationMarks(len(found.passages))
        self._text: list[str] = []

    def take(self, piece: Piece, context: RequestContext) -> Iterator[AskEvent]:
        """The events for one piece of the chat. Pieces of other kinds than text have no place in an ask."""
        if isinstance(piece, ContentPiece):
            yield from self._pass_on(self._marks.feed(piece.text))
        elif isinstance(piece, ReasoningPiece):
            yield piece
        elif isinstance(piece, Done):
            yield from self._pass_on(self._marks.finish())
            yield AskDone(
                **_check_answer("".join(self._text), self._marks, self._found, context),
                latency_ms=_milliseconds(context),
                **facts_of(piece),
            )

    def _pass_on(self, text: str) -> Iterator[AskEvent]:
        if text:
            self._text.append(text)
            yield ContentPiece(text)


def _check_answer(text: str, marks: CitationMarks, found: Retrieved, context: RequestContext) -> dict[str, Any]:
    """The fields of an answer about its passages and its claims."""
    citations = tuple(passage for passage in found.passages if passage.n in marks.cited)
    claims = split_claims(text)
    context.record_citations(len(citations), len(claims), sum(not claim.citations for claim in claims))
    return {"citations": citations, "claims": claims, "passages": found.passages, "warnings": found.warnings}


def _milliseconds(context: RequestContext) -> float:
    return round((trio.current_time() - context.started) * 1000, 3)
