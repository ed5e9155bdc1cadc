"""One request that a model was asked, and the means to answer it, well or badly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import trio

from tools.faults.profiles import Profile
from tools.faults.visits import Visit
from tools.faults.voices import KINDS, PIECES, Voice, packed
from tools.faults.wire import Wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One request for one model: `number` counts from 1, `since` is how many seconds ago the first one came."""

    wire: Wire
    voice: Voice
    asked: Mapping[str, Any]
    model: str
    visit: Visit
    number: int
    since: float
    profile: Profile

    @property
    def streams(self) -> bool:
        """Whether a stream is asked for. Ollama streams unless it is told not to."""
        return bool(self.asked.get("stream", self.voice.name == "ollama"))

    async def answer(self, *, pause: float = 0.0, finish: str = "stop") -> None:
        """The whole answer, as it should be."""
        if not self.streams:
            await self.wire.whole(packed(self.voice.whole(self.model, finish=finish)))
            return
        await self.begin()
        for text in PIECES:
            await self.say(text)
            await trio.sleep(pause)
        await self.end(finish)

    async def begin(self) -> None:
        """The head of a stream, and what comes before its first piece."""
        await self.wire.begin(kind=self.voice.kind)
        await self.emit(self.voice.opening(self.model))

    async def say(self, *texts: str) -> None:
        """Pieces of the answer."""
        await self.emit(b"".join(self.voice.piece(self.model, text) for text in texts))

    async def emit(self, data: bytes) -> None:
        """Some bytes of a stream."""
        if data:
            await self.wire.piece(data)

    async def end(self, finish: str = "stop") -> None:
        """The proper end of a stream."""
        await self.emit(self.voice.closing(self.model, finish) + self.voice.mark())
        await self.wire.end()

    async def refuse(self, kind: str, *, retry_after: int | None = None) -> None:
        """An error with its status."""
        headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        self.visit.told = retry_after
        await self.wire.whole(packed(self.voice.envelope(KINDS[kind])), KINDS[kind].status, headers)

    async def half(self) -> None:
        """The first half of a whole answer, or of a stream."""
        if self.streams:
            await self.begin()
            await self.say(*PIECES[:3])
            await self.say(*PIECES[3:5])
        else:
            body = packed(self.voice.whole(self.model))
            await self.wire.begin(headers={"content-length": str(len(body))}, kind="application/json")
            await self.wire.send(body[: len(body) // 2])
