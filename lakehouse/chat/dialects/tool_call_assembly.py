"""Fragments of tool calls: which call one belongs to, and what has come of a call so far.

Servers send the parts of a call in every order: its name in pieces, again with each fragment or late, its id likewise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from lakehouse.chat.dialects.lenient_json import JsonObject, dump, load, mapping, string

MAX_LOOKED_AT = 512 * 1024 * 1024
"""Characters of arguments that are looked at for being whole, over and over: a second for one answer at the most."""


class Fragment(msgspec.Struct, frozen=True):
    """A fragment of a call, see `CallAssembler.fragment`."""

    index: object
    id: str
    name: str
    arguments: object
    custom: bool = False

    @property
    def blank(self) -> bool:
        """Whether it says nothing of the arguments."""
        arguments = self.arguments
        return arguments is None or (isinstance(arguments, str) and not arguments.strip())

    @classmethod
    def of(cls, fragment: JsonObject) -> Fragment:
        """OpenAI's and Ollama's."""
        custom = mapping(fragment.get("custom"))
        called = mapping(fragment.get("function")) or custom
        said = called.get("input") if custom else called.get("arguments")
        index = fragment.get("index", called.get("index"))
        return cls(index, string(fragment.get("id")), string(called.get("name")), said, bool(custom))


@dataclass(slots=True, eq=False)
class OpenCall:
    """A call under way. `sealed`: its arguments came as an object, so that no fragment can follow."""

    index: object
    custom: bool = False
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    sealed: bool = False
    announced: bool = False  # its name was said again once it was whole
    looked_at: int = 0
    _last: str = ""  # of the arguments, what is no mere white space
    _whole: bool | None = None  # None: not known

    @property
    def begun(self) -> bool:
        """Whether there are arguments, be they incomplete."""
        return bool(self._last)

    def append(self, arguments: object) -> int:
        """More of the arguments; returns how many characters that were."""
        self.sealed = isinstance(arguments, Mapping | list)
        text = arguments if isinstance(arguments, str) else dump(arguments) if self.sealed else ""
        if text:
            self.arguments.append(text)
            self._whole = None
            if not text.isspace():
                self._last = text
        return len(text)

    def whole(self) -> bool:
        """Whether nothing can follow: an object is complete, and no text that begins with one is JSON again.

        Raises ValueError when that was asked too often.
        """
        if self.custom or not self.name or not self._last.rstrip().endswith("}"):
            return False
        if self._whole is None:
            text = "".join(self.arguments)
            self.looked_at += len(text)
            if self.looked_at > MAX_LOOKED_AT:
                raise ValueError("the arguments of a tool call come in too many pieces")
            self._whole = _is_object(text)
        return self._whole


def _is_object(text: str) -> bool:
    try:
        return isinstance(load(text.encode("utf-8", "replace")), dict)
    except ValueError:
        return False


def begins_another(known: OpenCall, fragment: Fragment, names: frozenset[str], *, apart: bool) -> bool:
    """Whether a fragment that should belong to `known` begins a call of its own.

        Some servers number every call 0, and some give a fragment a new id: only with a name is a new id a new call, or
        where there are no indexes to tell calls apart. A name may come again with each fragment, and so may its call's
        id, new or not. `names` are those of the tools that were offered, if they are known; `apart`: the fragment came
    together with another name of `known`.
    """
    name, id, numbered = fragment.name, fragment.id, fragment.index is not None  # noqa: A001
    other_id = bool(id and known.id and id != known.id)
    if not name and known.announced and known.whole():
        return not fragment.blank
    if not name or not known.name:
        return other_id and not numbered
    if other_id:
        return not (numbered and name == known.name and known.begun and not known.whole())
    if name == known.name:
        return not fragment.blank and known.whole() and not (id and numbered)
    return apart or not _goes_on(known, fragment, names)


def _goes_on(known: OpenCall, fragment: Fragment, names: frozenset[str]) -> bool:
    """Whether a name that is not the one of `known` is the next piece of that, or all of it so far.

    Where the tools are known, their names tell. Elsewhere it is, if it has the same id, or if its call is known to
    be under way.
    """
    name, id, numbered = fragment.name, fragment.id, fragment.index is not None  # noqa: A001
    if not {name, known.name} <= names:
        grows = name.startswith(known.name) and begins_a_name(name, names)
        if grows or begins_a_name(known.name + name, names):
            return True
    elif not begins_a_name(known.name + name, names):
        return False
    if id:
        return id == known.id and not known.whole() and (numbered or not known.begun)
    if known.begun:
        return numbered and not known.whole()
    return bool(known.id) or (numbered and fragment.blank)


def begins_a_name(text: str, names: frozenset[str]) -> bool:
    """Whether one of the names begins with this."""
    return any(name.startswith(text) for name in names)
