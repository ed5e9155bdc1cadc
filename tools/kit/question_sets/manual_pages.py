"""Manual pages: the text of their roff source, without a formatter."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from pathlib import Path

FONTS = re.compile(r"\.(?:BR|BI|IR|IB|RB|RI|SM|SB|B|I|IP|UR|MT)\s+(.*)")
DROPPED = ('.\\"', "'\\\"", ".TH", ".de", ".if", ".ie", ".el", ".ds")
ESCAPES = (
    (re.compile(r"\\f(\[\w*\]|\(..|.)"), ""),
    (re.compile(r"\\-"), "-"),
    (re.compile(r"\\\((aq|dq|bu|..)"), " "),
    (re.compile(r"\\\[\w+\]"), ""),
    (re.compile(r"\\s[+-]?\d"), ""),
    (re.compile(r"\\[&|:/,]"), ""),
    (re.compile(r"\\ "), " "),
    (re.compile(r"\\e"), r"\\"),
)
SECTION = r"^{name}\s*\n(.*?)(?=\n\n?[A-Z][A-Z ]+\n|\Z)"
NAME = re.compile(SECTION.format(name="NAME"), re.DOTALL | re.MULTILINE)
DESCRIPTION = re.compile(SECTION.format(name="DESCRIPTION"), re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ManualPage:
    """What the section NAME says about a page, and its section DESCRIPTION."""

    purpose: str
    description: str


def read_page(file: Path) -> ManualPage | None:
    """Read a compressed page; None for one that refers to another page or lacks a section."""
    source = gzip.decompress(file.read_bytes()).decode(errors="replace")
    if source.lstrip().startswith(".so "):
        return None
    text = strip_roff(source)
    name, description = NAME.search(text), DESCRIPTION.search(text)
    if not name or not description:
        return None
    parts = re.split(r"\s[-—]+\s", " ".join(name[1].split()), maxsplit=1)
    return ManualPage(parts[1], description[1]) if len(parts) == 2 else None


def strip_roff(source: str) -> str:
    """The text of a page; headings stand on lines of their own."""
    text = "\n".join(strip_macro(line) for line in source.split("\n") if not line.startswith(DROPPED))
    for pattern, replacement in ESCAPES:
        text = pattern.sub(replacement, text)
    return text


def strip_macro(line: str) -> str:
    """The words of a line that a macro sets in a font, or that are a heading; nothing of other macros."""
    if line.startswith((".SH", ".SS")):
        return "\n" + line[3:].strip()
    if not line.startswith("."):
        return line
    macro = FONTS.match(line)
    return macro[1].replace('"', "") if macro else ""
