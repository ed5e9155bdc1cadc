"""Passages for a prompt: the results of a search as numbered texts with their sources, within a number of tokens.

[1] handbook/leave.md#3, "Parental leave", page 4
The text of the passage ...
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from lakehouse.services.contracts.retrieval import Hit

CHARACTERS_PER_TOKEN = 4
"""The usual estimate for English text."""
TEXT_KEYS = ("text", "content", "body")
"""The keys of the metadata in which indexes of vectors have the text of an item."""


class Passage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One numbered passage."""

    n: int
    corpus: str
    id: str
    text: str
    distance: float | None
    score: float | None = None
    metadata: msgspec.Raw = msgspec.Raw(b"")


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """The passages, all of them as one text, and the number of results for which there was no room."""

    passages: list[Passage]
    text: str
    omitted: int


class _Source(msgspec.Struct, frozen=True):
    """What metadata say about the place of a passage."""

    source: str = ""
    page: int | None = None
    heading: str = ""


def make_context(hits: Iterable[Hit], max_tokens: int) -> Context:
    """Number the hits in their order. One that does not fit is left out; the first one is cut to fit."""
    room, omitted = max_tokens * CHARACTERS_PER_TOKEN, 0
    passages: list[Passage] = []
    blocks: list[str] = []
    for hit in hits:
        text = read_text(hit)
        if not text:
            continue
        head = f"[{len(passages) + 1}] {describe_source(hit)}\n"
        if not passages:
            text = _cut(text, max(room - len(head), 1))
        if len(head) + len(text) > room and passages:
            omitted += 1
            continue
        room -= len(head) + len(text) + 2
        passages.append(_make_passage(len(passages) + 1, hit, text))
        blocks.append(head + text)
    return Context(passages=passages, text="\n\n".join(blocks), omitted=omitted)


def _make_passage(number: int, hit: Hit, text: str) -> Passage:
    passage = Passage(n=number, corpus=hit.corpus, id=hit.id, text=text, distance=hit.distance, score=hit.score)
    return msgspec.structs.replace(passage, metadata=hit.metadata) if hit.metadata else passage


def read_text(hit: Hit) -> str:
    """The text of a hit: its own, or one in its metadata, or the metadata themselves."""
    if hit.text:
        return hit.text.strip()
    metadata = bytes(hit.metadata)
    if not metadata:
        return ""
    try:
        document = msgspec.json.decode(metadata)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    if not isinstance(document, dict) or not document:
        return ""
    for key in TEXT_KEYS:
        if isinstance(text := document.get(key), str) and text.strip():
            return text.strip()
    return metadata.decode()


def describe_source(hit: Hit) -> str:
    """The corpus and id of a hit, with the file, heading and page that its metadata name."""
    try:
        source = msgspec.json.decode(hit.metadata, type=_Source)
    except (msgspec.DecodeError, UnicodeDecodeError):  # none, or of other types
        source = _Source()
    parts = [f"{hit.corpus}/{hit.id}"]
    if source.source and source.source not in hit.id:
        parts.append(source.source)
    if source.heading:
        parts.append(f'"{source.heading}"')
    if source.page is not None:
        parts.append(f"page {source.page}")
    return " ".join(", ".join(parts).split())


def _cut(text: str, size: int) -> str:
    """The beginning of a text, up to the end of a word."""
    if len(text) <= size:
        return text
    cut = text[: max(size - 1, 1)]
    return (cut.rpartition(" ")[0] or cut) + "…"
