"""A chat's POST: what it is asked with, and the two ways in which it comes.

Through Quart it is a view like any other. Under a lifeline it is answered as plain ASGI, before Quart: its request, its
contexts and its response are a fifth of what a whole chat costs, and a chat needs nothing of them but the body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol, cast

from hypercorn.typing import ASGISendCallable
from quart import Blueprint, request
from quart_trio.wrappers import TrioResponse
from werkzeug.exceptions import InternalServerError

from lakehouse.chat.api import body, surroundings
from lakehouse.chat.api.answers import Whole
from lakehouse.chat.api.events import EventStream
from lakehouse.chat.api.failures import defect, one_failure, to_tell
from lakehouse.edge.asgi import Receive, Scope, Send
from lakehouse.errors import LakehouseError
from lakehouse.observe.inflight import Flight


class Asked(NamedTuple):
    """What a chat is asked with. `lift_deadline` ends the caller's own deadline, once the answer has begun."""

    body: bytes
    flight: Flight | None
    lift_deadline: Callable[[], None] | None


class Chat(Protocol):
    """One of the two forms of a chat."""

    async def answer(self, asked: Asked) -> Whole | EventStream:
        """Have it answered. Raises a `LakehouseError`, or a group of them."""

    def refusal(self, error: LakehouseError, flight: Flight | None) -> Whole:
        """How this form tells a failure."""


class Post:
    """The ASGI application of a chat's POST, under a lifeline."""

    def __init__(self, chat: Chat, *, max_body: int) -> None:
        self._chat = chat
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a failure becomes its refusal. Cancellation passes."""
        flight: Flight = scope["lakehouse"]
        answer: Whole | EventStream
        try:
            answer = await self._chat.answer(
                Asked(  # without a name: a stream would keep the body for as long as it lasts
                    await body.pull(scope["headers"], receive, self._max_body),
                    flight,
                    scope["lakehouse.lift_deadline"],
                )
            )
        except (Exception, BaseExceptionGroup) as raised:  # noqa: BLE001  # `to_tell` raises, tells or logs it
            error = to_tell(raised)
            surroundings.note(flight, error)
            answer = self._chat.refusal(error, flight)
        await answer.send_to(cast("ASGISendCallable", send))


def view(chat: Chat, *, max_body: int) -> Callable[[], Awaitable[TrioResponse]]:
    """The same as a view of Quart's."""

    async def post() -> TrioResponse:
        data = await body.receive(request, max_body)
        with one_failure():
            answer = await chat.answer(Asked(data, surroundings.flight(request), surroundings.lift_deadline(request)))
        return answer if isinstance(answer, EventStream) else answer.response()

    return post


def tell_failures(blueprint: Blueprint, chat: Chat) -> None:
    """Whatever fails in a view of this blueprint is told in the form of `chat`."""

    @blueprint.errorhandler(LakehouseError)
    async def refuse(error: LakehouseError) -> TrioResponse:
        flight = surroundings.flight(request)
        surroundings.note(flight, error)
        return chat.refusal(error, flight).response()

    @blueprint.errorhandler(InternalServerError)
    async def apologise(_: InternalServerError) -> TrioResponse:
        return await refuse(defect())
