"""Tool calls: put together from what arrives, and named anew where they are sent back.

Calls leave in OpenAI's shape, whole, with an id and with arguments that are JSON as a string. They arrive as objects or
in fragments, with indexes or without, with ids that are missing, repeated or late, and with their name in any of them.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterable, Sequence

from lakehouse.chat.dialects.lenient_json import JsonObject, load, mapping, objects, string
from lakehouse.chat.dialects.tool_call_assembly import Fragment, OpenCall, begins_a_name, begins_another
from lakehouse.chat.model.tool_calls import AnyToolCall, Custom, CustomToolCall, Function, ToolCall

ANSWER_TOOL = "structured_answer"
"""The tool whose arguments are a structured answer (`schema`). No tool of a caller may have this name."""

WRAPPED_ANSWER_TOOL = "structured_answer_value"
"""The same for schemas of something else than an object: the answer is the argument `value`."""

MAX_CALLS = 256
"""Tool calls of one answer; OpenAI takes 128 tools. Every fragment looks for its call among those that are open, and
whoever reads an answer holds up everybody else."""


class CallAssembler:
    """Tool calls from their fragments, in the order in which they began.

    A call is given out once it is whole for certain: when its arguments came as an object, or are a complete one and
    another call has begun; else at the end of the answer.
    """

    def __init__(self, names: frozenset[str] = frozenset()) -> None:
        """`names` are those of the tools that were offered, if they are known: they tell a piece of a name from another
        name."""
        self.calls: list[AnyToolCall] = []
        self._names = names
        self.size = 0  # characters
        self._open: list[OpenCall] = []
        self._ids = _Ids()

    def __bool__(self) -> bool:
        return bool(self.calls or self._open)

    def add(self, fragments: Iterable[JsonObject]) -> list[AnyToolCall]:
        """OpenAI's and Ollama's fragments that came together: names among them that differ are never pieces of one.

        Returns the calls that are whole with them. Raises as `fragment`.
        """
        given: list[AnyToolCall] = []
        named: list[OpenCall] = []
        for fragment in fragments:
            read = Fragment.of(fragment)
            call = self._take(read, named)
            if read.name:
                named.append(call)
            given += self._give()
        return given

    def fragment(
        self,
        index: object,
        id: str,  # noqa: A002
        name: str,
        arguments: object,
        custom: bool = False,
    ) -> list[AnyToolCall]:
        """One fragment: `index` may be None, `id` and `name` empty, `arguments` a piece of JSON, an object or None;
        of a `custom` tool a piece of its input.

        Raises ValueError for more calls, or calls in more pieces, than an answer may have.
        """
        self._take(Fragment(index, id, name, arguments, custom), ())
        return self._give()

    def end(self, *, cut: bool = False) -> list[AnyToolCall]:
        """The calls that were still open, once the answer is whole. One that was `cut` before its name is dropped.

        Raises ValueError for arguments that belong to no name.
        """
        if not cut and any(call.arguments and not call.name for call in self._open):
            raise ValueError("the arguments of a tool call came without its name")
        self._open = [call for call in self._open if call.name]
        return self._give(ended=True)

    def parsable(self) -> bool:
        """Whether the arguments of every open call are a complete object, or nothing."""
        return all(not call.arguments or call.custom or call.whole() for call in self._open)

    def _take(self, fragment: Fragment, named: Sequence[OpenCall]) -> OpenCall:
        call = self._find(fragment, named)
        if not call.id:
            call.id = fragment.id
            self.size += len(fragment.id)
        if (name := fragment.name) and name != call.name:
            grown = call.name + name
            if name.startswith(call.name) and not begins_a_name(grown, self._names):
                grown = name  # all of the name so far
            self.size += len(grown) - len(call.name)
            call.name = grown
        elif name and fragment.blank and call.whole():
            call.announced = True
        self.size += call.append(fragment.arguments)
        return call

    def _give(self, *, ended: bool = False) -> list[AnyToolCall]:
        given: list[AnyToolCall] = []
        while self._open:
            first = self._open[0]
            if not (ended or (first.sealed and first.name) or (len(self._open) > 1 and first.whole())):
                break
            given.append(self._close(self._open.pop(0)))
        self.calls += given
        return given

    def _close(self, call: OpenCall) -> AnyToolCall:
        arguments = "".join(call.arguments)
        made_up = hashlib.blake2b(f"{len(self._ids)} {call.name} {arguments}".encode(), digest_size=6).hexdigest()
        name = self._ids.give(call.id or f"call_{made_up}")
        if call.custom:
            return CustomToolCall(id=name, custom=Custom(name=call.name, input=arguments))
        return ToolCall(id=name, function=Function(name=call.name, arguments=arguments if arguments.strip() else "{}"))

    def _find(self, fragment: Fragment, named: Sequence[OpenCall]) -> OpenCall:
        """The open call that a fragment belongs to, else a new one.

        By its index; without one by its id, else it belongs to the last call.
        """
        index, id = fragment.index, fragment.id  # noqa: A001
        latest = (call for call in reversed(self._open) if not call.sealed)
        if index is not None:
            known = next((call for call in latest if call.index == index), None)
        else:
            known = last = next(latest, None)
            if last is not None and id and last.id != id:
                known = next((call for call in latest if call.id == id), last)
        if known is not None and not begins_another(known, fragment, self._names, apart=known in named):
            return known
        if len(self._open) + len(self.calls) >= MAX_CALLS:
            raise ValueError(f"the answer has more than {MAX_CALLS} tool calls")
        again = known.name if known is not None and known.announced and not fragment.name else ""
        self._open.append(OpenCall(index, custom=fragment.custom, name=again))
        return self._open[-1]


def arguments_object(arguments: str) -> JsonObject:
    """A call's arguments for a form that wants an object. What is none, for `length` cut it, is kept under one key."""
    if not arguments.strip():
        return {}
    try:
        value = load(arguments.encode("utf-8", "replace"))
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"invalid_arguments": arguments}


class ToolCallIdMap:
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


def tool_names(tools: Iterable[JsonObject]) -> frozenset[str]:
    """What a call may name: the caller's tools, and those that stand for a structured answer."""
    named = (string((mapping(tool.get("function")) or mapping(tool.get("custom"))).get("name")) for tool in tools)
    return frozenset((ANSWER_TOOL, WRAPPED_ANSWER_TOOL, *filter(None, named)))


def fragments_of(message: JsonObject) -> list[JsonObject]:
    """The tool calls of a message or delta, the single `function_call` of old servers included."""
    calls = objects(message.get("tool_calls"))
    legacy = mapping(message.get("function_call"))
    return [*calls, {"index": "function_call", "function": legacy}] if legacy else calls
