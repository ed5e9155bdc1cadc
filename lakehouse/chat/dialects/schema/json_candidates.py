"""Finds the parts of an answer's text that may be the requested JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NoReturn

from lakehouse.chat.dialects.decoding.think_splitter import ThinkSplitter

MAX_STARTS = 64
"""Positions in a text at which a JSON value is tried."""

_FENCE = re.compile(r"```[\w-]*[ \t]*\r?\n(.*?)(?:\r?\n)?```", re.DOTALL)
_START = re.compile(r"[{\[]")


def find_candidates(text: str) -> Iterator[str]:
    """Yield candidates, the most likely first: the whole text, the text without its think block, fenced blocks, then
    objects and arrays inside the text."""
    splitter = ThinkSplitter(unopened=True)
    splits = [*splitter.feed(text), *splitter.flush()]
    content = "".join(split.text for split in splits if split.kind == "content").strip()
    yield text.strip()
    if content != text.strip():
        yield content
    for block in _FENCE.findall(content):
        yield block.strip()
    yield from _find_values(content)


def _find_values(text: str) -> Iterator[str]:
    """Yield the outermost objects and arrays in a text. Values inside them are parts of an answer, not answers."""
    decoder = json.JSONDecoder(parse_constant=_reject_constant)
    position = 0
    for _ in range(MAX_STARTS):
        found = _START.search(text, position)
        if found is None:
            return
        try:
            _, position = decoder.raw_decode(text, found.start())
        except (ValueError, RecursionError):
            position = found.end()
        else:
            yield text[found.start() : position]


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
