"""HTML: the main part of a page as text, with its headings, lists, tables and code."""

from __future__ import annotations

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from lakehouse.services.documents.child.decoding import decode_text, find_declared
from lakehouse.services.documents.child.document import Document, TextBuilder
from lakehouse.services.documents.child.errors import unprocessable
from lakehouse.services.documents.child.html_checks import check_html, names

PRESCAN = 1024
"""Bytes in which a page declares its encoding (the HTML standard)."""

_DECLARED = re.compile(rb"""<(?:meta[^>]+charset|\?xml[^>]+encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_SKIPPED = names(
    "script style noscript template svg math iframe object embed canvas audio video map head nav "
    "button input select textarea datalist progress meter dialog"
)
_SKIPPED_IN_BODY = names("header footer aside")
"""What surrounds the content of a page that does not mark it with `main` or `article`."""
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = names(
    "address article aside blockquote body caption center dd details dir div dl dt fieldset figcaption figure footer "
    "form header hgroup hr legend li main menu ol p pre search section summary table tbody tfoot thead tr ul"
)
_CELLS = names("td th")
_LISTS = names("ul ol dl table menu dir")
_ITEMS = names("li dt dd tr caption")
_SPACE = re.compile(r"[ \t\r\n\f]+")


def read_html(content: bytes, encoding: str) -> Document:
    """The text of a page."""
    declared = _DECLARED.search(content[:PRESCAN])
    named = find_declared(declared.group(1).decode("ascii", "replace")) if declared else ""
    text, warnings = decode_text(content, encoding, declared=named)
    check_html(text)
    try:
        parser = LexborHTMLParser(text)
        main = _find_main(parser)
        reader = _PageReader(skipped=_SKIPPED if main is not None else _SKIPPED | _SKIPPED_IN_BODY)
        root = main or parser.body
        if root is not None:
            reader.read(root)
        title = parser.css_first("title")
        return reader.builder.finish(title="" if title is None else title.text(), warnings=warnings)
    except SelectolaxError as error:
        raise unprocessable(f"the HTML cannot be parsed: {error}") from None


def _find_main(parser: LexborHTMLParser) -> LexborNode | None:
    """The only element that says it is the main content and has text."""
    for selector in ("main", "[role=main]", "article"):
        found = parser.css(selector)
        if len(found) == 1 and found[0].text(strip=True):
            return found[0]
    return None


class _PageReader:
    """Walks over the elements without recursion, and collects the text between the beginnings and ends of blocks."""

    def __init__(self, *, skipped: frozenset[str]) -> None:
        self.builder = TextBuilder()
        self._skipped = skipped
        self._pieces: list[str] = []
        self._item = 0
        """How many list items and table rows the present place is in."""
        self._prefix = ""
        self._cells = 0
        """How many table cells the present place is in."""

    def read(self, root: LexborNode) -> None:
        """Read everything below an element."""
        node: LexborNode | None = root.first_child
        while node is not None:
            below = self._enter(node)
            if below is not None:
                node = below
                continue
            while node is not None and node.next is None:
                node = node.parent
                if node is None or node.mem_id == root.mem_id:
                    node = None
                    break
                self._leave(node.tag or "")
            if node is not None:
                node = node.next
        self._flush()

    def _enter(self, node: LexborNode) -> LexborNode | None:
        """Begin a node. Returns its first child if the walk goes below it; its end is `_leave`."""
        if node.is_text_node:
            self._pieces.append(_SPACE.sub(" ", node.text_content or ""))
            return None
        tag = node.tag or ""
        if not node.is_element_node or tag in self._skipped or (tag != "br" and "hidden" in node.attributes):
            return None
        if tag == "pre" and not self._cells:
            self._flush()
            self.builder.add_code(node.text())
            return None
        if tag in _HEADINGS and not self._cells:
            self._flush()
            self.builder.add_heading(node.text(), _HEADINGS[tag])
            return None
        self._begin(tag)
        child = node.first_child
        if child is None:
            self._leave(tag)
        return child

    def _begin(self, tag: str) -> None:
        if tag == "br":
            self._pieces.append("\n")
        elif tag in _CELLS:
            self._cells += 1
            self._separate_cell()
        elif self._cells:
            if tag in _BLOCKS:
                self._pieces.append(" ")  # a cell is one line
        elif tag in _BLOCKS:
            self._flush()
            if tag in _LISTS and not self._item:
                self.builder.end_lines()
            if tag in _ITEMS:
                self._item += 1
                self._prefix = "- " if tag == "li" else ""

    def _leave(self, tag: str) -> None:
        if tag in _CELLS:
            self._cells -= 1
        elif tag in _BLOCKS and not self._cells:
            self._flush()
            if tag in _ITEMS:
                self._item -= 1
                self._prefix = ""

    def _separate_cell(self) -> None:
        if any(piece.strip() for piece in self._pieces):
            self._pieces.append(" | ")

    def _flush(self) -> None:
        """End the present paragraph or line."""
        text = "".join(self._pieces)
        self._pieces = []
        lines = [line.strip() for line in _collapse(text).split("\n")]
        if self._item:
            joined = " ".join(line for line in lines if line)
            if joined:
                self.builder.add_line(self._prefix + joined)
                self._prefix = ""
        else:
            self.builder.add_paragraph("\n".join(lines))


def _collapse(text: str) -> str:
    """One space for several in a row."""
    return re.sub(" {2,}", " ", text)
