"""The provider itself: it listens, breaks as it is asked to, and remembers who asked what, when, and how they left.

POST …/api/chat  …/chat/completions  …/messages     in Ollama's, OpenAI's and Anthropic's form
GET  …/api/tags  …/models                           the faults, as models
GET  /visits?model=NAME                             what that model was asked, as JSON
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from urllib.parse import parse_qs, urlsplit

import trio

from tools.faults.faults import FAULTS, Fault
from tools.faults.profiles import Profile
from tools.faults.turn import Turn
from tools.faults.visits import Visit, Visits
from tools.faults.voices import VOICES, Voice, packed
from tools.faults.wire import Asked, HangUp, Left, Wire


class Provider:
    """Made by `provider`, which sets its `url`."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.visits = Visits()
        self.open = 0
        """Connections that are open, idle ones included."""
        self.url = ""

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection."""
        wire = Wire(stream)
        self.open += 1
        try:
            async with stream:
                await self._converse(wire)
        finally:
            self.open -= 1

    async def _converse(self, wire: Wire) -> None:
        try:
            while True:
                await self._answer(wire, await wire.request())
        except HangUp as end:
            if end.reset:
                wire.reset_at_end()
        except (Left, OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _answer(self, wire: Wire, asked: Asked) -> None:
        parts = urlsplit(asked.target)
        voice = next((voice for end, voice in VOICES.items() if parts.path.endswith(end)), None)
        if voice is not None and asked.method == "POST":
            await self._break(wire, voice, asked)
        elif parts.path == "/visits":
            visits = self.visits.of(parse_qs(parts.query).get("model", [""])[0])
            await wire.whole(packed([asdict(visit) for visit in visits]))
        elif parts.path.endswith("/api/tags"):
            await wire.whole(packed({"models": [{"name": name} for name in FAULTS]}))
        elif parts.path.endswith("/models"):
            await wire.whole(packed({"object": "list", "data": [{"id": name} for name in FAULTS]}))
        else:
            await wire.whole(packed({"error": "404 page not found"}), 404)

    async def _break(self, wire: Wire, voice: Voice, asked: Asked) -> None:
        model = str(asked.document.get("model", ""))
        fault = FAULTS.get(model.partition(".")[0])
        if fault is None:
            await wire.whole(packed({"error": f"model {model} not found: the faults are {', '.join(FAULTS)}"}), 404)
            return
        turn = self._turn(wire, voice, asked, model)
        self.visits.add(turn.visit)
        try:
            await wire.while_here(partial(_behave, fault, turn))
        finally:
            turn.visit.left = wire.left

    def _turn(self, wire: Wire, voice: Voice, asked: Asked, model: str) -> Turn:
        before, now = self.visits.of(model), trio.current_time()
        turn = Turn(
            wire=wire,
            voice=voice,
            asked=asked.document,
            model=model,
            visit=Visit(model, voice.name, streams=False, at=now),
            number=len(before) + 1,
            since=now - before[0].at if before else 0.0,
            profile=self.profile,
        )
        turn.visit.streams = turn.streams
        return turn


async def _behave(fault: Fault, turn: Turn) -> None:
    try:
        await fault(turn)
    except HangUp:
        turn.visit.ended = True
        raise
    turn.visit.ended = True


@asynccontextmanager
async def provider(profile: Profile, port: int = 0, host: str = "127.0.0.1") -> AsyncIterator[Provider]:
    """Run it for the block."""
    state = Provider(profile)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, state.serve, port, host=host))
        state.url = f"http://{host}:{listeners[0].socket.getsockname()[1]}"
        yield state
        nursery.cancel_scope.cancel()
