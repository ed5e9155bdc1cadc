"""Reasoning in fields of an answer, under the names that providers give it.

Providers send it in one of three text fields and in a list of signed details. Reasoning that leaks into the text is
found by `think_splitter`.
"""

from __future__ import annotations

from collections.abc import Iterable

from lakehouse.chat.dialects.lenient_json import JsonObject, as_objects, as_string

TEXT_FIELDS = ("reasoning_content", "reasoning", "thinking")
"""Fields of the text, in the order in which they are read: the first one that is a non-empty string holds."""

SIGNATURES = ("signature", "data", "encrypted_content")
"""Fields of a detail that only the provider can read; one of them makes the detail complete."""

JOINED_FIELDS = ("text", "summary", "thinking")
"""Fields of a detail that arrive in pieces."""


def find_reasoning(message: JsonObject) -> str:
    """Return the reasoning text of a message or delta. Details repeat the text field, so they count only without it."""
    for name in TEXT_FIELDS:
        if found := as_string(message.get(name)):
            return found
    if not (details := as_objects(message.get("reasoning_details"))):
        return ""
    return "".join(as_string(entry.get("text")) or as_string(entry.get("summary")) for entry in details)


def is_signed(entry: JsonObject) -> bool:
    """Return whether a detail is signed or encrypted."""
    return any(map(entry.get, SIGNATURES))


class ReasoningDetails:
    """Assembles `reasoning_details` from their deltas, to be sent back verbatim and complete.

    Deltas of the same `index` and type form one entry: texts are joined; of any other field the last value that is not
    null holds. A delta without an index is an entry. Blocks of the messages dialect are assembled the same way.
    """

    def __init__(self) -> None:
        self.entries: list[JsonObject] = []
        self.size = 0  # characters
        self._by_key: dict[tuple[int | str, str], JsonObject] = {}
        self._taken = 0  # entries that `take_signed` has returned

    def add(self, entries: Iterable[JsonObject]) -> None:
        """Add whole entries or deltas."""
        for entry in entries:
            self.size += sum(len(value) for value in entry.values() if isinstance(value, str))
            index = entry.get("index")
            key = (index, as_string(entry.get("type"))) if isinstance(index, int | str) else None
            known = None if key is None else self._by_key.get(key)
            if known is not None:
                _extend(known, entry)
                continue
            self.entries.append(dict(entry))
            if key is not None:
                self._by_key[key] = self.entries[-1]

    def take_signed(self) -> tuple[JsonObject, ...]:
        """Return the entries up to the last signed or encrypted one, without those that were returned before."""
        waiting = self.entries[self._taken :]
        signed = [place for place, entry in enumerate(waiting, 1) if is_signed(entry)]
        if not signed:
            return ()
        self._taken += signed[-1]
        return tuple(map(dict, waiting[: signed[-1]]))


def _extend(known: JsonObject, delta: JsonObject) -> None:
    for name in JOINED_FIELDS:
        if joined := as_string(known.get(name)) + as_string(delta.get(name)):
            known[name] = joined
    others = ((name, value) for name, value in delta.items() if name not in JOINED_FIELDS)
    known.update((name, value) for name, value in others if value is not None)
