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

from tools.kit.faults.connection import ClientLeft, Disconnect, ProviderConnection, ReceivedRequest
from tools.kit.faults.faults import FAULTS, Fault
from tools.kit.faults.formats import FORMATS, WireFormat, encode_json
from tools.kit.faults.profiles import Profile
from tools.kit.faults.recorded_requests import RecordedRequest, RecordedRequests
from tools.kit.faults.scripted_response import ScriptedResponse


class Provider:
    """Made by `open_provider`, which sets its `url`."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.requests = RecordedRequests()
        self.open = 0
        """Connections that are open, idle ones included."""
        self.url = ""

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection."""
        wire = ProviderConnection(stream)
        self.open += 1
        try:
            async with stream:
                await self._serve_requests(wire)
        finally:
            self.open -= 1

    async def _serve_requests(self, wire: ProviderConnection) -> None:
        try:
            while True:
                await self._answer(wire, await wire.read_request())
        except Disconnect as end:
            if end.reset:
                wire.reset_at_end()
        except (ClientLeft, OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _answer(self, wire: ProviderConnection, asked: ReceivedRequest) -> None:
        parts = urlsplit(asked.target)
        voice = next((voice for end, voice in FORMATS.items() if parts.path.endswith(end)), None)
        if voice is not None and asked.method == "POST":
            await self._respond_with_fault(wire, voice, asked)
        elif parts.path == "/visits":
            visits = self.requests.by_model(parse_qs(parts.query).get("model", [""])[0])
            await wire.send_response(encode_json([asdict(visit) for visit in visits]))
        elif parts.path.endswith("/api/tags"):
            await wire.send_response(encode_json({"models": [{"name": name} for name in FAULTS]}))
        elif parts.path.endswith("/models"):
            await wire.send_response(encode_json({"object": "list", "data": [{"id": name} for name in FAULTS]}))
        else:
            await wire.send_response(encode_json({"error": "404 page not found"}), 404)

    async def _respond_with_fault(self, wire: ProviderConnection, voice: WireFormat, asked: ReceivedRequest) -> None:
        model = str(asked.document.get("model", ""))
        fault = FAULTS.get(model.partition(".")[0])
        if fault is None:
            await wire.send_response(
                encode_json({"error": f"model {model} not found: the faults are {', '.join(FAULTS)}"}), 404
            )
            return
        turn = self._begin_response(wire, voice, asked, model)
        self.requests.add(turn.record)
        try:
            await wire.run_until_client_leaves(partial(_run_fault, fault, turn))
        finally:
            turn.record.client_left = wire.left

    def _begin_response(
        self, wire: ProviderConnection, voice: WireFormat, asked: ReceivedRequest, model: str
    ) -> ScriptedResponse:
        before, now = self.requests.by_model(model), trio.current_time()
        turn = ScriptedResponse(
            connection=wire,
            format=voice,
            request=asked.document,
            model=model,
            record=RecordedRequest(model, voice.name, streams=False, at=now),
            number=len(before) + 1,
            since=now - before[0].at if before else 0.0,
            profile=self.profile,
        )
        turn.record.streams = turn.streams
        return turn


async def _run_fault(fault: Fault, turn: ScriptedResponse) -> None:
    try:
        await fault(turn)
    except Disconnect:
        turn.record.ended = True
        raise
    turn.record.ended = True


@asynccontextmanager
async def open_provider(profile: Profile, port: int = 0, host: str = "127.0.0.1") -> AsyncIterator[Provider]:
    """Run it for the block."""
    state = Provider(profile)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, state.serve, port, host=host))
        state.url = f"http://{host}:{listeners[0].socket.getsockname()[1]}"
        yield state
        nursery.cancel_scope.cancel()
