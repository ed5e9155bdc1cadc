"""Python's manual: the sections of its reStructuredText sources."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

RULE = re.compile(r"""^([=\-~^"'`#*+.:_])\1{2,}\s*$""")
ROLE = re.compile(r":[\w:+-]+:`[!~]?([^`<]*?)(\s*<[^`]*>)?`")
DIRECTIVE = re.compile(r"\.\. [\w:]+::\s*")
DROPPED = re.compile(
    r"\s*\.\. (_|index|module|sectionauthor|moduleauthor|highlight|contents|currentmodule|only)(?!.*version)"
)


def read_sections(source: str) -> Iterator[tuple[str, str]]:
    """Heading and text of each section, without its subsections."""
    lines = source.split("\n")
    headings = [place for place in range(len(lines) - 1) if is_heading(lines, place)]
    for start, end in pairwise([*headings, len(lines)]):
        body = lines[start + 2 : end]
        if body and RULE.match(body[-1]):  # the rule above the next heading
            body.pop()
        yield strip_markup(lines[start].strip()), strip_markup("\n".join(body))


def is_heading(lines: list[str], place: int) -> bool:
    """Whether a line is underlined."""
    line, below = lines[place], lines[place + 1].rstrip()
    if not line.strip() or line.startswith((" ", "..")) or RULE.match(line):
        return False
    return bool(RULE.match(below)) and len(below) >= len(line.rstrip())


def strip_markup(text: str) -> str:
    """The text as a reader sees it, nearly."""
    lines = (line for line in text.split("\n") if not DROPPED.match(line))
    plain = (DIRECTIVE.sub("", ROLE.sub(r"\1", line)) for line in lines)
    return "\n".join(line.replace("``", "").replace("**", "") for line in plain).strip()
