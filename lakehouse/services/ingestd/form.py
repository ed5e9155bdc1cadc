"""Multipart forms (RFC 7578) as they arrive: the pieces of a body become the beginnings, data and ends of parts."""

from __future__ import annotations

from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from lakehouse.core.errors import ErrBadRequest

MAX_PARTS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PartHead:
    """The head of a part. `file_name` is None for a part that is no file."""

    name: str
    file_name: str | None
    content_type: str


FormEvent = PartHead | bytes
"""A part begins, or a piece of the content of the part that began last."""


def find_boundary(content_type: bytes) -> bytes | None:
    """The boundary of a form; None for any other content type. Raises `ErrBadRequest` for a form without one."""
    kind, options = parse_options_header(content_type)
    if kind.lower() != b"multipart/form-data":
        if kind.lower().startswith(b"multipart/"):
            raise ErrBadRequest(f"a form is multipart/form-data, not {kind.decode('latin-1')[:80]}")
        return None
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= 200:
        raise ErrBadRequest("the content type of the form has no `boundary`")
    return boundary


class FormDecoder:
    """Decodes one form. Nothing is kept but the head of the part that begins."""

    def __init__(self, boundary: bytes) -> None:
        self.complete = False
        """Whether the closing boundary has been read."""
        self._events: list[FormEvent] = []
        self._fields: dict[str, str] = {}
        self._name = bytearray()
        self._value = bytearray()
        self._parts = 0
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_name,
                "on_header_value": self._add_value,
                "on_header_end": self._end_field,
                "on_headers_finished": self._end_head,
                "on_part_data": self._add_data,
                "on_end": self._end,
            },
        )

    def feed(self, data: bytes) -> list[FormEvent]:
        """The events of the next piece of the body. Raises `ErrBadRequest` for a form that is malformed."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise ErrBadRequest(f"the form is malformed: {error}") from None
        events, self._events = self._events, []
        return events

    def finish(self) -> None:
        """The body has ended. Raises `ErrBadRequest` if the form has not."""
        if not self.complete:
            raise ErrBadRequest("the form is malformed: its closing boundary is missing")

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise ErrBadRequest(f"the form has more than {MAX_PARTS} parts")
        self._fields = {}

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_field(self) -> None:
        self._fields[self._name.decode("latin-1").lower()] = self._value.decode("utf-8", "replace")
        self._name, self._value = bytearray(), bytearray()

    def _end_head(self) -> None:
        encoding = self._fields.get("content-transfer-encoding", "binary").lower()
        if encoding not in ("binary", "8bit", "7bit"):
            raise ErrBadRequest(
                f"a part of the form has the Content-Transfer-Encoding {encoding[:40]}: send it as binary"
            )
        _, options = parse_options_header(self._fields.get("content-disposition", ""))
        file_name = options.get(b"filename")
        self._events.append(
            PartHead(
                name=options.get(b"name", b"").decode("utf-8", "replace"),
                file_name=None if file_name is None else file_name.decode("utf-8", "replace"),
                content_type=self._fields.get("content-type", ""),
            )
        )

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(data[start:end])

    def _end(self) -> None:
        self.complete = True
