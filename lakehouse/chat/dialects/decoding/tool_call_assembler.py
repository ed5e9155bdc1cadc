"""Assembles tool calls from fragments.

Assembled calls have OpenAI's shape, an id, and arguments that are JSON in a string. Fragments arrive with arguments as
objects or in pieces, with indexes or without, with ids that are missing, repeated or late, and with the name in any of
them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from lakehouse.chat.dialects.decoding.tool_call_fragments import Fragment, OpenCall, begins_new_call, is_name_prefix
from lakehouse.chat.dialects.lenient_json import JsonObject
from lakehouse.chat.dialects.tool_calls import UniqueIds
from lakehouse.chat.model.tool_calls import AnyToolCall, Custom, CustomToolCall, Function, ToolCall

MAX_CALLS = 256
"""Tool calls of one answer; OpenAI accepts 128 tools. Every fragment is compared with all open calls, which blocks the
event loop."""


class ToolCallAssembler:
    """Tool calls in the order in which they began.

    A call is returned once it is certainly complete: its arguments came as an object; or they are a complete object and
    another call has begun; or the answer has ended.
    """

    def __init__(self, names: frozenset[str] = frozenset()) -> None:
        """`names` are those of the offered tools, if known: they decide whether a name continues another name."""
        self.calls: list[AnyToolCall] = []
        self._names = names
        self.size = 0  # characters
        self._open: list[OpenCall] = []
        self._ids = UniqueIds()

    def __bool__(self) -> bool:
        return bool(self.calls or self._open)

    def add(self, fragments: Iterable[JsonObject]) -> list[AnyToolCall]:
        """Add the fragments of one delta in OpenAI's or Ollama's shape. Different names in one delta are never pieces
        of one name.

        Returns the calls that are now complete. Raises as `add_fragment`.
        """
        completed: list[AnyToolCall] = []
        named: list[OpenCall] = []
        for document in fragments:
            fragment = Fragment.parse(document)
            call = self._apply(fragment, named)
            if fragment.name:
                named.append(call)
            completed += self._close_complete()
        return completed

    def add_fragment(
        self,
        index: object,
        id: str,  # noqa: A002
        name: str,
        arguments: object,
        custom: bool = False,
    ) -> list[AnyToolCall]:
        """Add one fragment and return the calls that are now complete. `index` may be None, `id` and `name` empty,
        `arguments` a piece of JSON, an object or None; for a `custom` tool a piece of its input.

        Raises ValueError for more than `MAX_CALLS` calls, and for arguments in too many pieces.
        """
        self._apply(Fragment(index, id, name, arguments, custom), ())
        return self._close_complete()

    def finish(self, *, cut: bool = False) -> list[AnyToolCall]:
        """Return the calls that are still open, at the end of the answer. If the answer was `cut`, calls without a name
        are dropped.

        Raises ValueError for arguments without a name.
        """
        if not cut and any(call.arguments and not call.name for call in self._open):
            raise ValueError("the arguments of a tool call came without its name")
        self._open = [call for call in self._open if call.name]
        return self._close_complete(ended=True)

    def all_parsable(self) -> bool:
        """Return whether the arguments of every open call are a complete object, or absent."""
        return all(not call.arguments or call.custom or call.is_complete() for call in self._open)

    def _apply(self, fragment: Fragment, named: Sequence[OpenCall]) -> OpenCall:
        call = self._find(fragment, named)
        if not call.id:
            call.id = fragment.id
            self.size += len(fragment.id)
        if (name := fragment.name) and name != call.name:
            extended = call.name + name
            if name.startswith(call.name) and not is_name_prefix(extended, self._names):
                extended = name  # the whole name so far
            self.size += len(extended) - len(call.name)
            call.name = extended
        elif name and fragment.has_no_arguments and call.is_complete():
            call.announced = True
        self.size += call.append(fragment.arguments)
        return call

    def _close_complete(self, *, ended: bool = False) -> list[AnyToolCall]:
        """Remove and return the complete calls at the head of the queue; with `ended`, all calls."""
        completed: list[AnyToolCall] = []
        while self._open:
            first = self._open[0]
            if not (ended or (first.sealed and first.name) or (len(self._open) > 1 and first.is_complete())):
                break
            completed.append(self._build_call(self._open.pop(0)))
        self.calls += completed
        return completed

    def _build_call(self, call: OpenCall) -> AnyToolCall:
        arguments = "".join(call.arguments)
        digest = hashlib.blake2b(f"{len(self._ids)} {call.name} {arguments}".encode(), digest_size=6).hexdigest()
        id = self._ids.issue(call.id or f"call_{digest}")  # noqa: A001
        if call.custom:
            return CustomToolCall(id=id, custom=Custom(name=call.name, input=arguments))
        return ToolCall(id=id, function=Function(name=call.name, arguments=arguments if arguments.strip() else "{}"))

    def _find(self, fragment: Fragment, named: Sequence[OpenCall]) -> OpenCall:
        """Return the open call that a fragment belongs to, else a new one: by index; without an index by id, else the
        last call."""
        index, id = fragment.index, fragment.id  # noqa: A001
        latest = (call for call in reversed(self._open) if not call.sealed)
        if index is not None:
            known = next((call for call in latest if call.index == index), None)
        else:
            known = last = next(latest, None)
            if last is not None and id and last.id != id:
                known = next((call for call in latest if call.id == id), last)
        if known is not None and not begins_new_call(known, fragment, self._names, same_batch=known in named):
            return known
        if len(self._open) + len(self.calls) >= MAX_CALLS:
            raise ValueError(f"the answer has more than {MAX_CALLS} tool calls")
        name = known.name if known is not None and known.announced and not fragment.name else ""
        self._open.append(OpenCall(index, custom=fragment.custom, name=name))
        return self._open[-1]
