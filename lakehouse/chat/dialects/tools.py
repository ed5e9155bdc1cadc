"""Tool calls: put together from what arrives, and named anew where they are sent back.

Calls leave in OpenAI's shape, whole, with an id and with arguments that are JSON as a string. They arrive as objects or
in fragments, with indexes or without, with ids that are missing, repeated or late, and with their name in any of them.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lakehouse.chat.dialects.documents import JsonObject, dump, load, mapping, objects, string
from lakehouse.chat.request import Function, ToolCall

ANSWER_TOOL = "structured_answer"
"""The tool whose arguments are a structured answer (`schema`). No tool of a caller may have this name."""

WRAPPED_ANSWER_TOOL = "structured_answer_value"
"""The same for schemas of something else than an object: the answer is the argument `value`."""

MAX_CALLS = 256
"""Tool calls of one answer; OpenAI takes 128 tools. Every fragment looks for its call among those that are open, and
whoever reads an answer holds up everybody else."""

MAX_LOOKED_AT = 512 * 1024 * 1024
"""Characters of arguments that are looked at for being whole, over and over: a second for one answer at the most."""


@dataclass(slots=True)
class _OpenCall:
    """A call under way. `sealed`: its arguments came as an object, so that no fragment can follow."""

    index: object
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    sealed: bool = False
    looked_at: int = 0
    _last: str = ""  # of the arguments, what is no mere white space
    _whole: bool | None = None  # None: not known

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
        if not self.name or not self._last.rstrip().endswith("}"):
            return False
        if self._whole is None:
            text = "".join(self.arguments)
            self.looked_at += len(text)
            if self.looked_at > MAX_LOOKED_AT:
                raise ValueError("the arguments of a tool call come in too many pieces")
            self._whole = _is_object(text)
        return self._whole


class CallAssembler:
    """Tool calls from their fragments, in the order in which they began.

    A call is given out once it is whole for certain: when its arguments came as an object, or are a complete one and
    another call has begun; else at the end of the answer.
    """

    def __init__(self) -> None:
        self.calls: list[ToolCall] = []
        self.size = 0  # characters
        self._open: list[_OpenCall] = []
        self._ids = _Ids()

    def __bool__(self) -> bool:
        return bool(self.calls or self._open)

    def add(self, fragments: Iterable[JsonObject]) -> list[ToolCall]:
        """OpenAI's and Ollama's fragments; returns the calls that are whole with them. Raises as `fragment`."""
        given: list[ToolCall] = []
        for fragment in fragments:
            function = mapping(fragment.get("function"))
            index = fragment.get("index", function.get("index"))
            name = string(function.get("name"))
            given += self.fragment(index, string(fragment.get("id")), name, function.get("arguments"))
        return given

    def fragment(self, index: object, id: str, name: str, arguments: object) -> list[ToolCall]:  # noqa: A002
        """One fragment: `index` may be None, `id` and `name` empty, `arguments` a piece of JSON, an object or None.

        Raises ValueError for more calls, or calls in more pieces, than an answer may have.
        """
        call = self._find(index, id, name)
        call.id = call.id or id
        call.name = call.name or name
        self.size += call.append(arguments) + len(name) + len(id)
        return self._give()

    def end(self, *, cut: bool = False) -> list[ToolCall]:
        """The calls that were still open, once the answer is whole. One that was `cut` before its name is dropped.

        Raises ValueError for arguments that belong to no name.
        """
        if not cut and any(call.arguments and not call.name for call in self._open):
            raise ValueError("the arguments of a tool call came without its name")
        self._open = [call for call in self._open if call.name]
        return self._give(ended=True)

    def parsable(self) -> bool:
        """Whether the arguments of every open call are a complete object, or nothing."""
        return all(not call.arguments or call.whole() for call in self._open)

    def _give(self, *, ended: bool = False) -> list[ToolCall]:
        given: list[ToolCall] = []
        while self._open:
            first = self._open[0]
            if not (ended or (first.sealed and first.name) or (len(self._open) > 1 and first.whole())):
                break
            given.append(self._close(self._open.pop(0)))
        self.calls += given
        return given

    def _close(self, call: _OpenCall) -> ToolCall:
        arguments = "".join(call.arguments)
        made_up = hashlib.blake2b(f"{len(self._ids)} {call.name} {arguments}".encode(), digest_size=6).hexdigest()
        name = self._ids.give(call.id or f"call_{made_up}")
        return ToolCall(id=name, function=Function(name=call.name, arguments=arguments if arguments.strip() else "{}"))

    def _find(self, index: object, id: str, name: str) -> _OpenCall:  # noqa: A002
        """The open call that a fragment belongs to, else a new one.

        By its index; without one by its id, else it belongs to the last call.
        """
        latest = (call for call in reversed(self._open) if not call.sealed)
        if index is not None:
            known = next((call for call in latest if call.index == index), None)
        else:
            known = last = next(latest, None)
            if last is not None and id and last.id != id:
                known = next((call for call in latest if call.id == id), last)
        if known is not None and not _begins_another(known, index, id, name):
            return known
        if len(self._open) + len(self.calls) >= MAX_CALLS:
            raise ValueError(f"the answer has more than {MAX_CALLS} tool calls")
        self._open.append(_OpenCall(index))
        return self._open[-1]


def _begins_another(known: _OpenCall, index: object, id: str, name: str) -> bool:  # noqa: A002
    """Whether a fragment that should belong to `known` begins a call of its own.

    Some servers number every call 0, and some give a fragment a new id: only with a name is a new id a new call, or
    where there are no indexes to tell calls apart.
    """
    other_id = bool(id and known.id and id != known.id)
    if not name or not known.name:
        return other_id and index is None
    return other_id or name != known.name or (known.whole() and not (id and index is not None))


def _is_object(text: str) -> bool:
    try:
        return isinstance(load(text.encode("utf-8", "replace")), dict)
    except ValueError:
        return False


def arguments_object(arguments: str) -> JsonObject:
    """A call's arguments for a form that wants an object. What is none, for `length` cut it, is kept under one key."""
    if not arguments.strip():
        return {}
    try:
        value = load(arguments.encode("utf-8", "replace"))
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"invalid_arguments": arguments}


class CallIds:
    """Ids for calls that are sent back: unique within the conversation and such as every provider takes.

    `[a-zA-Z0-9_-]`, at most 64 characters. An id that is so already is kept. Results must follow in the order of the
    calls where ids were repeated.
    """

    def __init__(self) -> None:
        self._used = _Ids()
        self._waiting: dict[str, deque[str]] = {}

    def call(self, id: str) -> str:  # noqa: A002
        """What the call `id` of an assistant message is called from here on."""
        sent = self._used.give(_sane(id))
        self._waiting.setdefault(id, deque()).append(sent)
        return sent

    def result(self, id: str) -> str:  # noqa: A002
        """What the call is called that a result with this id answers."""
        waiting = self._waiting.get(id)
        if not waiting:
            return _sane(id)
        return waiting.popleft() if len(waiting) > 1 else waiting[0]


def _sane(id: str) -> str:  # noqa: A002
    return re.sub(r"[^a-zA-Z0-9_-]", "_", id)[:64] or "call"


class _Ids:
    """Ids of which none is given twice."""

    def __init__(self) -> None:
        self._given: set[str] = set()
        self._numbers: dict[str, int] = {}  # the last one behind each stem, lest all are tried again each time

    def __len__(self) -> int:
        return len(self._given)

    def give(self, id: str) -> str:  # noqa: A002
        """`id`, or with a number behind it what was not given yet."""
        found, stem = id, id[:58]
        while found in self._given:
            number = self._numbers[stem] = self._numbers.get(stem, 1) + 1
            found = f"{stem}_{number}"
        self._given.add(found)
        return found


def fragments_of(message: JsonObject) -> list[JsonObject]:
    """The tool calls of a message or delta, the single `function_call` of old servers included."""
    calls = objects(message.get("tool_calls"))
    legacy = mapping(message.get("function_call"))
    return [*calls, {"function": legacy}] if legacy else calls
