"""The XML of a DOCX part (ECMA-376, part 1): paragraphs, headings, lists and tables, read by expat as it arrives.

Entities are refused where they are declared. Nothing outside of the part is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NoReturn
from xml.parsers import expat

from lakehouse.services.documents.child.document import TextBuilder
from lakehouse.services.documents.child.errors import unprocessable

MAX_DEPTH = 1000
MAX_LEVEL = 9
SEPARATOR = " "
"""Between the namespace and the name of an element."""

_WORD = re.compile(
    r"http://(?:schemas\.openxmlformats\.org/wordprocessingml/2006|purl\.oclc\.org/ooxml/wordprocessingml)/main$"
)
_FALLBACK = "http://schemas.openxmlformats.org/markup-compatibility/2006 Fallback"
_HEADING_NAME = re.compile(r"heading ([1-9])$", re.IGNORECASE)
_BREAKS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}


class _Parser:
    """Expat with the checks: depth, no entities. Subclasses have the handlers."""

    def __init__(self) -> None:
        self._depth = 0
        self._parser = expat.ParserCreate(namespace_separator=SEPARATOR)
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self.add_text
        self._parser.EntityDeclHandler = _refuse_entities

    def feed(self, pieces: Iterable[bytes]) -> None:
        """Parse a whole part. Raises the error 422."""
        try:
            for piece in pieces:
                self._parser.Parse(piece, False)
            self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise unprocessable(f"the XML of the DOCX file is not well-formed: {error}") from None

    def begin(self, name: str, attributes: Mapping[str, str]) -> None:
        """An element of Word begins; names are without the namespace."""

    def end(self, name: str) -> None:
        """An element of Word ends."""

    def add_text(self, text: str) -> None:
        """Text between elements."""

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise unprocessable(f"the XML of the DOCX file is nested more than {MAX_DEPTH} elements deep")
        self.begin(_local(name), {_local(key): value for key, value in attributes.items()})

    def _end(self, name: str) -> None:
        self._depth -= 1
        self.end(_local(name))


def _local(name: str) -> str:
    """The name without the namespace of Word; names of other namespaces stay as they are."""
    namespace, _, local = name.rpartition(SEPARATOR)
    return local if _WORD.match(namespace) else name


def _refuse_entities(*_: object) -> NoReturn:
    raise unprocessable("the XML of the DOCX file declares entities, which no Word document has")


def read_styles(pieces: Iterable[bytes]) -> dict[str, int]:
    """The level of each style of headings, by its id. Word keeps the English name in every language."""
    reader = _StyleReader()
    reader.feed(pieces)
    return reader.levels


class _StyleReader(_Parser):
    def __init__(self) -> None:
        super().__init__()
        self.levels: dict[str, int] = {}
        self._style = ""

    def begin(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "style":
            self._style = attributes.get("styleId", "")
        elif name == "name" and self._style:
            value = attributes.get("val", "")
            if found := _HEADING_NAME.match(value):
                self.levels[self._style] = int(found.group(1))
            elif value.lower() == "title":
                self.levels[self._style] = 1
        elif name == "outlineLvl" and self._style:
            level = _read_level(attributes)
            if level:
                self.levels.setdefault(self._style, level)

    def end(self, name: str) -> None:
        if name == "style":
            self._style = ""


def _read_level(attributes: Mapping[str, str]) -> int:
    """The level of an `outlineLvl`, whose value 9 is body text; 0 for none."""
    value = attributes.get("val", "")
    return int(value) + 1 if value in tuple("012345678") else 0


class BodyReader(_Parser):
    """Reads the paragraphs and tables of a body or of notes. Deleted text and alternative drawings are left out."""

    def __init__(self, builder: TextBuilder, levels: Mapping[str, int]) -> None:
        super().__init__()
        self._builder = builder
        self._levels = levels
        self._pieces: list[str] = []
        self._cells: list[str] = []
        self._in_text = False
        self._skipped = 0
        """How many elements that are left out the present place is in."""
        self._tables = 0
        self._level = 0
        self._listed = False

    def read(self, pieces: Iterable[bytes]) -> None:
        """Read a part."""
        self.feed(pieces)
        self._builder.end_lines()

    def begin(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == _FALLBACK:
            self._skipped += 1
        elif name == "t":
            self._in_text = True
        elif name in _BREAKS:
            self._pieces.append(_BREAKS[name])
        elif name == "pStyle":
            self._level = self._levels.get(attributes.get("val", ""), self._level)
        elif name == "outlineLvl":
            self._level = _read_level(attributes)
        elif name == "numPr":
            self._listed = True
        elif name == "tbl":
            if not self._tables:
                self._builder.end_lines()
            self._tables += 1

    def end(self, name: str) -> None:
        if name == _FALLBACK:
            self._skipped -= 1
        elif name == "t":
            self._in_text = False
        elif name == "p":
            self._end_paragraph()
        elif name == "tc" and self._tables == 1:
            self._cells.append(self._take())
        elif name == "tr" and self._tables == 1:
            self._builder.add_line(" | ".join(self._cells))
            self._cells = []
        elif name == "tbl":
            self._tables -= 1
            if not self._tables:
                self._builder.end_lines()

    def add_text(self, text: str) -> None:
        if self._in_text and not self._skipped:
            self._pieces.append(text)

    def _end_paragraph(self) -> None:
        level, listed = self._level, self._listed
        self._level, self._listed = 0, False
        if self._tables:
            self._pieces.append(" ")  # the paragraphs of a cell are one line
        elif level:
            self._builder.add_heading(self._take(), min(level, MAX_LEVEL))
        elif listed:
            self._builder.add_line("- " + text if (text := self._take().strip()) else "")
        else:
            self._builder.add_paragraph(self._take())

    def _take(self) -> str:
        text = "".join(self._pieces)
        self._pieces = []
        return " ".join(text.split()) if self._tables else text
