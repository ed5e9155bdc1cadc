"""Ids and arguments of tool calls, for requests that send calls back and for answers that make them."""

from __future__ import annotations

import re
from collections import deque

from lakehouse.chat.dialects.lenient_json import JsonObject, decode_json


class UniqueIds:
    """Issues each id once; a repeated id gets a numeric suffix."""

    def __init__(self) -> None:
        self._issued: set[str] = set()
        self._numbers: dict[str, int] = {}  # the last suffix per stem, so that a search does not restart at 2

    def __len__(self) -> int:
        return len(self._issued)

    def issue(self, id: str) -> str:  # noqa: A002
        """Return `id`, or `id` with the next free suffix if it was issued before."""
        issued, stem = id, id[:58]
        while issued in self._issued:
            number = self._numbers[stem] = self._numbers.get(stem, 1) + 1
            issued = f"{stem}_{number}"
        self._issued.add(issued)
        return issued


class ToolCallIdMap:
    """Maps the ids of one conversation's tool calls to ids that every provider accepts and that are unique in it.

    Accepted ids match `[a-zA-Z0-9_-]{1,64}`; such an id is kept. Where an id repeats, results must follow in the order
    of the calls.
    """

    def __init__(self) -> None:
        self._issued = UniqueIds()
        self._unanswered: dict[str, deque[str]] = {}
        self._answered: dict[str, str] = {}  # the last call of an id that has a result

    def add_call(self, id: str) -> str:  # noqa: A002
        """Return the id under which the call `id` of an assistant message is sent."""
        sent = self._issued.issue(sanitize_id(id))
        self._unanswered.setdefault(id, deque()).append(sent)
        return sent

    def take_result_id(self, id: str) -> str:  # noqa: A002
        """Return the id under which the call was sent that a result with `id` belongs to: the first one without a
        result, else the last one with a result."""
        if unanswered := self._unanswered.get(id):
            self._answered[id] = unanswered.popleft()
        return self._answered.get(id) or sanitize_id(id)


def sanitize_id(id: str) -> str:  # noqa: A002
    """Return `id` with other characters replaced, and without those that are too many."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", id)[:64] or "call"


def parse_arguments(arguments: str) -> JsonObject:
    """Return a call's arguments as an object. Arguments that are no JSON object, for instance because `length` cut
    them, are kept as the value of `invalid_arguments`."""
    if not arguments.strip():
        return {}
    try:
        value = decode_json(arguments.encode("utf-8", "replace"))
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"invalid_arguments": arguments}
