"""Parser of a stream of JSON lines that is passed on as it came."""

from __future__ import annotations

from typing import ClassVar

from lakehouse.chat.dialects.relay.relaying_parser import RelayingParser

_LINE_ENDS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))
"""Characters at which clients such as Ollama's for Python end a line, and their escapes in JSON."""


class RelayingLineParser(RelayingParser):
    """`RelayingParser` for NDJSON: a line is an event, and blank lines are for the connection to the provider.

    A character within a line at which clients would end it is escaped.
    """

    event_end: ClassVar[bytes] = b"\n"
    event_ends: ClassVar[tuple[bytes, ...]] = (b"\n",)

    def _read_run(self, data: bytes) -> bytes | None:
        if not data.isascii() and any(char in data for char, _ in _LINE_ENDS):
            return None
        return super()._read_run(data)

    def _split(self, data: bytes) -> list[bytes]:
        return [line + b"\n" for line in data.split(b"\n")[:-1]]

    def _is_ignored(self, event: bytes) -> bool:
        return not event.strip()

    def _rename(self, event: bytes) -> bytes:
        if not event.isascii():
            for char, escaped in _LINE_ENDS:
                event = event.replace(char, escaped)
        return self._renamer.rename_line(event)
