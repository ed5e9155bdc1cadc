"""Base class of the parsers that wrap another parser."""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.chat.dialects.base import StreamParser
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import Delta
from lakehouse.chat.model.usage import Usage


class DelegatingParser:
    """A `StreamParser` that forwards everything to `inner`. A subclass overrides the methods that it changes."""

    def __init__(self, inner: StreamParser) -> None:
        self._inner = inner

    @property
    def active_parser(self) -> StreamParser:
        """This parser: a wrapper stays in place for the whole stream."""
        return self

    @property
    def complete(self) -> bool:
        """Forwarded."""
        return self._inner.complete

    @property
    def has_pending_error(self) -> bool:
        """Forwarded."""
        return self._inner.has_pending_error

    @property
    def finished(self) -> bool:
        """Forwarded."""
        return self._inner.finished

    @property
    def made_progress(self) -> bool:
        """Forwarded."""
        return self._inner.made_progress

    @property
    def usage(self) -> Usage:
        """Forwarded."""
        return self._inner.usage

    def feed(self, data: bytes) -> list[Delta]:
        """Forwarded."""
        return self._inner.feed(data)

    def feed_text(self, data: bytes) -> bool:  # noqa: ARG002
        """False: a wrapper reads every event."""
        return False

    def count_text_events(self, events: Sequence[bytes], start: int) -> int:  # noqa: ARG002
        """0, for the same reason."""
        return 0

    def flush(self) -> list[Delta]:
        """Forwarded."""
        return self._inner.flush()

    def end(self) -> ProviderAnswer:
        """Forwarded."""
        return self._inner.end()
