"""One request that a model was asked, and the means to answer it, well or badly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import trio

from tools.kit.faults.connection import ProviderConnection
from tools.kit.faults.formats import ERROR_REPLIES, PIECES, WireFormat, encode_json
from tools.kit.faults.profiles import Profile
from tools.kit.faults.recorded_requests import RecordedRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedResponse:
    """One request for one model: `number` counts from 1, `since` is how many seconds ago the first one came."""

    connection: ProviderConnection
    format: WireFormat
    request: Mapping[str, Any]
    model: str
    record: RecordedRequest
    number: int
    since: float
    profile: Profile

    @property
    def streams(self) -> bool:
        """Whether a stream is asked for. Ollama streams unless it is told not to."""
        return bool(self.request.get("stream", self.format.name == "ollama"))

    async def send_answer(self, *, pause: float = 0.0, finish: str = "stop") -> None:
        """The whole answer, as it should be."""
        if not self.streams:
            await self.connection.send_response(encode_json(self.format.whole(self.model, finish=finish)))
            return
        await self.begin()
        for text in PIECES:
            await self.send_text(text)
            await trio.sleep(pause)
        await self.end(finish)

    async def begin(self) -> None:
        """The head of a stream, and what comes before its first piece."""
        await self.connection.send_head(kind=self.format.kind)
        await self.send_bytes(self.format.opening(self.model))

    async def send_text(self, *texts: str) -> None:
        """Pieces of the answer."""
        await self.send_bytes(b"".join(self.format.piece(self.model, text) for text in texts))

    async def send_bytes(self, data: bytes) -> None:
        """Some bytes of a stream."""
        if data:
            await self.connection.send_chunk(data)

    async def end(self, finish: str = "stop") -> None:
        """The proper end of a stream."""
        await self.send_bytes(self.format.closing(self.model, finish) + self.format.mark())
        await self.connection.end_body()

    async def send_error(self, kind: str, *, retry_after: int | None = None) -> None:
        """An error with its status."""
        headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        self.record.retry_after = retry_after
        await self.connection.send_response(
            encode_json(self.format.envelope(ERROR_REPLIES[kind])), ERROR_REPLIES[kind].status, headers
        )

    async def send_half(self) -> None:
        """The first half of a whole answer, or of a stream."""
        if self.streams:
            await self.begin()
            await self.send_text(*PIECES[:3])
            await self.send_text(*PIECES[3:5])
        else:
            body = encode_json(self.format.whole(self.model))
            await self.connection.send_head(headers={"content-length": str(len(body))}, kind="application/json")
            await self.connection.send(body[: len(body) // 2])
