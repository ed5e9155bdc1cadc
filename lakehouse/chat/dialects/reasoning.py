"""Reasoning under all its names, and where it leaks into the text.

Providers put it into one of three fields, into a list of signed details, or forget to take it out of the answer's text,
between `<think>` and `</think>`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from lakehouse.chat.dialects.lenient_json import JsonObject, objects, string

FIELDS = ("reasoning_content", "reasoning", "thinking")
"""Where the text is, in the order in which to look: the first that is a string and not empty."""

JOINED = ("text", "summary", "thinking")
"""Fields of a detail that come in pieces."""

OPEN, CLOSE = "<think>", "</think>"


def read(message: JsonObject) -> str:
    """The reasoning in a message or a delta. The details repeat what a field says, so they count only without one."""
    for name in FIELDS:
        if found := string(message.get(name)):
            return found
    if not (details := objects(message.get("reasoning_details"))):
        return ""
    return "".join(string(entry.get("text")) or string(entry.get("summary")) for entry in details)


class Details:
    """`reasoning_details` put together from their deltas, to be sent back verbatim and complete.

    Entries of one `index` and type are one entry: its texts are joined, of everything else the last value that is not
    null holds. An entry without an index stands for itself. Blocks of the messages form are put together the same way.
    """

    def __init__(self) -> None:
        self.entries: list[JsonObject] = []
        self.size = 0  # characters
        self._marked: dict[tuple[int | str, str], JsonObject] = {}

    def add(self, entries: Iterable[JsonObject]) -> None:
        """The next entries, whole ones or deltas."""
        for entry in entries:
            self.size += sum(len(value) for value in entry.values() if isinstance(value, str))
            index = entry.get("index")
            mark = (index, string(entry.get("type"))) if isinstance(index, int | str) else None
            known = None if mark is None else self._marked.get(mark)
            if known is None:
                self.entries.append(dict(entry))
                if mark is not None:
                    self._marked[mark] = self.entries[-1]
            else:
                for name in JOINED:
                    if joined := string(known.get(name)) + string(entry.get(name)):
                        known[name] = joined
                rest = ((name, value) for name, value in entry.items() if name not in JOINED)
                known.update((name, value) for name, value in rest if value is not None)


def signed_entries(details: Iterable[JsonObject]) -> list[JsonObject]:
    """Details fit to be sent back: Anthropic and Gemini refuse text that lost its signature (ai-sdk-provider#418,
    #423)."""
    return [
        entry
        for entry in details
        if entry.get("type") != "reasoning.text"
        or entry.get("signature")
        or not string(entry.get("format")).startswith(("anthropic", "google"))
    ]


Kind = Literal["content", "reasoning"]


class Split(NamedTuple):
    """A piece of the text, and which of the two it was."""

    kind: Kind
    text: str


class ThinkSplitter:
    """Takes a leading think block off text that arrives in pieces.

    Tags may be cut anywhere. A missing closing tag makes everything reasoning. A missing opening tag can be seen only
    from the closing one, so with `unopened` text is held back until that or the end comes; without it, only as much as
    could be a tag.
    """

    def __init__(self, *, unopened: bool = False) -> None:
        self._unopened = unopened
        self._held = ""
        self._state: Literal["start", "opened", "thinking", "thought", "answer"] = "start"

    @property
    def held(self) -> int:
        """Characters that are held back."""
        return len(self._held)

    def feed(self, text: str) -> list[Split]:
        """What is certain with this text."""
        if self._state == "answer":
            return [Split("content", text)] if text else []
        self._held += text
        found: list[Split] = []
        if self._state == "start":
            found += self._start(len(text))
        if self._state == "opened":
            self._opened()
        if self._state == "thinking":
            found += self._thinking()
        if self._state == "thought":
            found += self._thought()
        return found

    def end(self) -> list[Split]:
        """What was held back."""
        kind: Kind = "reasoning" if self._state in ("opened", "thinking") else "content"
        rest, self._held, self._state = self._held, "", "answer"
        return [Split(kind, rest)] if rest else []

    def _start(self, new: int) -> list[Split]:
        leading = self._held.lstrip()
        if leading.startswith(OPEN):
            self._held, self._state = leading[len(OPEN) :], "opened"
        elif OPEN.startswith(leading):
            pass  # it may become the tag
        elif not self._unopened:
            return self._answer()
        elif self._held.find(CLOSE, max(0, len(self._held) - new - len(CLOSE))) >= 0:
            self._state = "opened"
        return []

    def _opened(self) -> None:
        self._held = self._held.lstrip("\n")
        if self._held:
            self._state = "thinking"

    def _thinking(self) -> list[Split]:
        thought, close, rest = self._held.partition(CLOSE)
        if close:
            self._held, self._state = rest, "thought"
            return [Split("reasoning", thought)] if thought else []
        kept = _overlap(self._held, CLOSE)
        certain, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
        return [Split("reasoning", certain)] if certain else []

    def _thought(self) -> list[Split]:
        self._held = self._held.lstrip()  # the blank lines between the block and the answer belong to neither
        return self._answer() if self._held else []

    def _answer(self) -> list[Split]:
        text, self._held, self._state = self._held, "", "answer"
        return [Split("content", text)] if text else []


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of `text` may be the beginning of `tag`."""
    return next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if text.endswith(tag[:size])), 0)
