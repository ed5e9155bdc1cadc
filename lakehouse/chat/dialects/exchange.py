"""One call: what is sent, and how what comes back is read."""

from __future__ import annotations

from lakehouse.chat.dialects.base import Dialect, Quirks, StreamParser
from lakehouse.chat.request import Reply, Request


class Exchange:
    """One request in one dialect, and the reading of its answer.

    `body` is what to post to `dialect.path`; raises `ErrBadRequest` when the request cannot be said.
    """

    def __init__(self, dialect: Dialect, request: Request, *, model: str, stream: bool, quirks: Quirks) -> None:
        self.path = dialect.path
        self.body = dialect.encode(request, model=model, stream=stream, quirks=quirks)
        self._dialect, self._request, self._quirks = dialect, request, quirks

    def decode(self, body: bytes) -> Reply:
        """A whole answer: a stream that came although none was asked for is folded, JSON is checked against `format`."""
        raise NotImplementedError

    def parser(self) -> StreamParser:
        """A reader of the stream: a whole body that came instead is understood, JSON is checked against `format`."""
        raise NotImplementedError
