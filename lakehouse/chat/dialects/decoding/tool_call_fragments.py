"""Fragments of tool calls: which call a fragment belongs to, and what has arrived of a call so far.

Servers send the parts of a call in every order: the name in pieces, repeated with each fragment or late, and the id
likewise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from lakehouse.chat.dialects.lenient_json import JsonObject, as_object, as_objects, as_string, decode_json, encode_json

MAX_PARSED = 512 * 1024 * 1024
"""Characters of a call's arguments that are parsed, over and over, to find out whether they are complete: about a
second of CPU for one answer."""


class Fragment(msgspec.Struct, frozen=True):
    """A fragment of a call, see `ToolCallAssembler.add_fragment`."""

    index: object
    id: str
    name: str
    arguments: object
    custom: bool = False

    @property
    def has_no_arguments(self) -> bool:
        """True if the fragment holds no part of the arguments."""
        arguments = self.arguments
        return arguments is None or (isinstance(arguments, str) and not arguments.strip())

    @classmethod
    def parse(cls, fragment: JsonObject) -> Fragment:
        """Return a fragment in OpenAI's or Ollama's shape."""
        custom = as_object(fragment.get("custom"))
        function = as_object(fragment.get("function")) or custom
        arguments = function.get("input") if custom else function.get("arguments")
        index = fragment.get("index", function.get("index"))
        return cls(index, as_string(fragment.get("id")), as_string(function.get("name")), arguments, bool(custom))


def find_fragments(message: JsonObject) -> list[JsonObject]:
    """Return the tool calls of a message or delta, including the single `function_call` of old servers."""
    calls = as_objects(message.get("tool_calls"))
    legacy = as_object(message.get("function_call"))
    return [*calls, {"index": "function_call", "function": legacy}] if legacy else calls


@dataclass(slots=True, eq=False)
class OpenCall:
    """A call that is being assembled."""

    index: object
    custom: bool = False
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    sealed: bool = False  # the arguments came as an object, so that no fragment can follow
    announced: bool = False  # the name was repeated after the call was complete
    parsed_size: int = 0
    _last: str = ""  # the last piece of the arguments that is not white space
    _complete: bool | None = None  # cached result of `is_complete`; None: the arguments have changed

    @property
    def has_arguments(self) -> bool:
        """True if arguments have arrived, complete or not."""
        return bool(self._last)

    def append(self, arguments: object) -> int:
        """Append a piece of the arguments; returns its number of characters."""
        self.sealed = isinstance(arguments, Mapping | list)
        text = arguments if isinstance(arguments, str) else encode_json(arguments) if self.sealed else ""
        if text:
            self.arguments.append(text)
            self._complete = None
            if not text.isspace():
                self._last = text
        return len(text)

    def is_complete(self) -> bool:
        """Return whether the arguments are a complete object. No text that begins with a complete one is JSON again, so
        no fragment can follow.

        Raises ValueError beyond `MAX_PARSED`.
        """
        if self.custom or not self.name or not self._last.rstrip().endswith("}"):
            return False
        if self._complete is None:
            text = "".join(self.arguments)
            self.parsed_size += len(text)
            if self.parsed_size > MAX_PARSED:
                raise ValueError("the arguments of a tool call come in too many pieces")
            self._complete = _is_object(text)
        return self._complete


def _is_object(text: str) -> bool:
    try:
        return isinstance(decode_json(text.encode("utf-8", "replace")), dict)
    except ValueError:
        return False


def begins_new_call(call: OpenCall, fragment: Fragment, names: frozenset[str], *, same_batch: bool) -> bool:
    """Return whether a fragment that is addressed to `call` begins another call.

    Some servers number every call 0, and some give every fragment a new id: a new id means a new call only together
    with a name, or where fragments have no indexes. A name may be repeated with each fragment, and so may the id.
    `names` are those of the offered tools, if known. `same_batch`: another fragment of the same delta has already given
    `call` a name.
    """
    name, id, indexed = fragment.name, fragment.id, fragment.index is not None  # noqa: A001
    new_id = bool(id and call.id and id != call.id)
    if not name and call.announced and call.is_complete():
        return not fragment.has_no_arguments
    if not name or not call.name:
        return new_id and not indexed
    if new_id:
        return not (indexed and name == call.name and call.has_arguments and not call.is_complete())
    if name == call.name:
        return not fragment.has_no_arguments and call.is_complete() and not (id and indexed)
    return same_batch or not _continues_name(call, fragment, names)


def _continues_name(call: OpenCall, fragment: Fragment, names: frozenset[str]) -> bool:
    """Return whether a name other than that of `call` is its next piece, or the whole name so far.

    The names of the offered tools decide where they are known. Otherwise the fragment must have the same id, or the
    call must still be incomplete.
    """
    name, id, indexed = fragment.name, fragment.id, fragment.index is not None  # noqa: A001
    if not {name, call.name} <= names:
        grows = name.startswith(call.name) and is_name_prefix(name, names)
        if grows or is_name_prefix(call.name + name, names):
            return True
    elif not is_name_prefix(call.name + name, names):
        return False
    if id:
        return id == call.id and not call.is_complete() and (indexed or not call.has_arguments)
    if call.has_arguments:
        return indexed and not call.is_complete()
    return bool(call.id) or (indexed and fragment.has_no_arguments)


def is_name_prefix(text: str, names: frozenset[str]) -> bool:
    """Return whether one of the names begins with `text`."""
    return any(name.startswith(text) for name in names)
