"""Who follows the calls of a session is asked before anything is sent, and told every answer."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import trio

from lakehouse.chat.dispatch.open_dispatcher import open_service_dispatcher
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.request import Request
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrSessionStopped
from lakehouse.core.session_identity import SessionIdentity
from lakehouse.testing.upstreams import open_upstream
from tools.kit.in_process_service import make_config
from tools.kit.service_with_providers import HELLO, answer_hello


@dataclass
class Follower:
    """A `CallObserver` that notes what it is told, and refuses the session `over`."""

    asked: list[Request] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)

    def admit(self, request: Request, context: RequestContext) -> None:
        assert context.session is not None
        self.asked.append(request)
        if context.session.id == "over":
            raise ErrSessionStopped("it is over")

    def record(self, request: Request, answer: ProviderAnswer, context: RequestContext) -> None:
        assert context.session is not None
        assert request in self.asked
        self.told.append((context.session.agent, answer.content))


def context_of(session: str | None) -> RequestContext:
    context = RequestContext(id="r", method="POST", path="/v1/chat", started=trio.current_time())
    if session is not None:
        context.join_session(SessionIdentity(id=session, agent="a"))
    return context


async def test_calls_of_a_session_are_admitted_and_recorded() -> None:
    follower, request = Follower(), Request(model="m", messages=HELLO)
    async with open_upstream(answer_hello) as there:
        config = make_config(chatd={"ollama_url": there.url})
        async with open_service_dispatcher(config, env={}, observer=follower) as dispatcher:
            await dispatcher(request, context=context_of(None))
            assert (follower.asked, follower.told) == ([], [])
            answer = await dispatcher(request, context=context_of("run"))
            async with dispatcher.stream(request, context=context_of("run")) as pieces:
                assert [piece async for piece in pieces]
            assert follower.told == [("a", answer.content)] * 2
            sent = len(there.requests)
            with pytest.raises(ErrSessionStopped):
                await dispatcher(request, context=context_of("over"))
            with pytest.raises(ErrSessionStopped):
                dispatcher.stream(request, context=context_of("over"))
            assert (len(there.requests), len(follower.asked), len(follower.told)) == (sent, 4, 2)
