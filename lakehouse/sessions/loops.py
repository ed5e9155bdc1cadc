"""Loops of an agent, found in the history that its request carries: the same calls with the same results again.

A history is read as steps, the newest first: an answer of the model with its tool calls, and what it got in return. A
step repeats another when calls, arguments, results and other inputs are the same. Whatever changes, be it the number of
a page, the output of a command or the words of a person, is progress, and ends the search for a loop.

`same_tool_calls` = N               the last N steps repeat each other
`tool_cycles` = N                   a cycle of 2 to `MAX_CYCLE` steps was run through N times in a row; A-B-A-B is twice
`answers_without_new_words` = N     the last N answers call no tool and have no word that the `BASE_ANSWERS` before them
                                    lack, and each input since then is one that an earlier answer had as well

Results that report a failure are compared without times, durations, addresses and ids, which differ although the tool
fails in the same way. All other results are compared as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import NamedTuple

import msgspec

from lakehouse.sessions.violations import Violation

MAX_CYCLE = 4
"""Steps of the longest cycle that is looked for."""
BASE_ANSWERS = 3
"""Answers before the last N among whose words those of the last N are looked for; two that alternate need two."""
MAX_LINE = 2_000
"""Characters of a line of a failure that is not compared as it is."""
MAX_VOLATILE = 150_000
"""Characters of a history in lines that are not compared as they are, which takes 30 ms of the event loop. Results
behind them are taken for different ones."""
SEARCH_SHARE = 8
"""Characters that are searched for words of failure in the time in which one is compared."""
MAX_COMPARED = 20_000
"""Characters of an answer that is compared by words."""

Content = object
"""A result: text, or parts that can be compared, such as images."""


class ToolUse(NamedTuple):
    """One tool call and its result; `arguments` is JSON in a text, as the model wrote it."""

    tool: str
    arguments: str
    result: Content = ""


@dataclass(frozen=True, slots=True)
class AgentStep:
    """An answer and what followed it: the results of its tool calls, and any other input, such as a person's words."""

    answer: str = ""
    uses: Sequence[ToolUse] = ()
    inputs: Sequence[Content] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopRules:
    """How often something is done at least until it is a loop; 0: the rule is off."""

    same_tool_calls: int = 0
    tool_cycles: int = 0
    answers_without_new_words: int = 0

    @property
    def shortest(self) -> float:
        """The steps of the shortest loop that they find; infinity when all are off."""
        counts = self.same_tool_calls, 2 * self.tool_cycles, self.answers_without_new_words + 1
        on = self.same_tool_calls, self.tool_cycles, self.answers_without_new_words
        return min((count for count, is_on in zip(counts, on, strict=True) if is_on), default=inf)


def find_loop(steps: Iterable[AgentStep], rules: LoopRules) -> Violation | None:
    """The loop at the end of a history, whose steps are the newest first. Reads no more of them than it must."""
    history = _History(iter(steps))
    return (
        _find_repeats(history, rules.same_tool_calls)
        or _find_cycle(history, rules.tool_cycles)
        or _find_repeated_words(history, rules.answers_without_new_words)
    )


class _History:
    """The steps that have been read so far, the newest first."""

    def __init__(self, steps: Iterator[AgentStep]) -> None:
        self._steps = steps
        self._read: list[AgentStep] = []
        self._comparison = _Comparison()

    def read(self, count: int) -> Sequence[AgentStep]:
        """The newest steps, fewer than `count` if there are no more."""
        self._read += islice(self._steps, max(0, count - len(self._read)))
        return self._read[:count]

    def repeats(self, first: int, second: int) -> bool:
        """Whether two steps by their numbers are the same, and use tools."""
        steps = self.read(second + 1)
        return len(steps) > second and self._comparison.is_repeated(steps[first], steps[second])


def _find_repeats(history: _History, count: int) -> Violation | None:
    if not count or not all(history.repeats(number, number + 1) for number in range(count - 1)):
        return None
    tools = _name_tools(history.read(1))
    reason = f"{_quote(tools)} was called with the same arguments and had the same result {count} times in a row"
    return Violation("same_tool_calls", reason, {"limit": count, "tools": tools})


def _find_cycle(history: _History, count: int) -> Violation | None:
    if not count:
        return None
    for length in range(2, MAX_CYCLE + 1):
        if not all(history.repeats(number, number + length) for number in range(length * (count - 1))):
            continue
        if all(history.repeats(number, number + 1) for number in range(length - 1)):
            continue  # one step again and again, which is for another rule
        tools = _name_tools(reversed(history.read(length)))
        reason = f"the same {length} steps ({_quote(tools)}) had the same results {count} times in a row"
        return Violation("tool_cycles", reason, {"limit": count, "tools": tools})
    return None


def _find_repeated_words(history: _History, count: int) -> Violation | None:
    """For answers without tool calls: the steps of an agent may well have few words."""
    if not count:
        return None
    steps = history.read(count + BASE_ANSWERS)
    if len(steps) <= count or any(step.uses for step in steps[:count]):
        return None
    inputs = [step.inputs for step in steps]
    if any(inputs[number] not in inputs[number + 1 :] for number in range(count)):
        return None
    known = frozenset[str]().union(*(_split_words(step.answer) for step in steps[count:]))
    if not all(_split_words(step.answer) <= known for step in steps[:count]):
        return None
    reason = f"its last {count} answers have no word that those before them lack, and nothing new was said to it"
    return Violation("answers_without_new_words", reason, {"limit": count})


class _Comparison:
    """Compares the steps of one history, for a bounded time."""

    def __init__(self) -> None:
        self._left = MAX_VOLATILE

    def is_repeated(self, newer: AgentStep, older: AgentStep) -> bool:
        """Whether a step that uses tools repeats another one."""
        return (
            bool(newer.uses)
            and len(newer.uses) == len(older.uses)
            and all(map(self._is_same_use, newer.uses, older.uses))
            and newer.inputs == older.inputs
        )

    def _is_same_use(self, newer: ToolUse, older: ToolUse) -> bool:
        return (
            newer.tool == older.tool
            and is_same_json(newer.arguments, older.arguments)
            and self._is_same_result(newer.result, older.result)
        )

    def _is_same_result(self, newer: Content, older: Content) -> bool:
        """Whether two results are equal, those that report a failure but for what differs nevertheless."""
        if newer == older:
            return True
        if not isinstance(newer, str) or not isinstance(older, str):
            return False
        lines, others = newer.split("\n"), older.split("\n")
        if len(lines) != len(others):
            return False
        differing = [(line, other) for line, other in zip(lines, others, strict=True) if line != other]
        self._left -= sum(len(line) + len(other) for line, other in differing) + len(newer) // SEARCH_SHARE
        return self._left >= 0 and all(_is_same_line(*pair) for pair in differing) and _reports_failure(newer)


def is_same_json(newer: str, older: str) -> bool:
    """Whether two JSON texts are equal but for the order of members."""
    if newer == older:
        return True
    if len(newer) != len(older):
        return False
    try:
        return bool(msgspec.json.decode(newer) == msgspec.json.decode(older))
    except (msgspec.DecodeError, RecursionError):
        return False


def _is_same_line(newer: str, older: str) -> bool:
    """Whether two lines are equal without what differs although a tool fails in the same way."""
    if max(len(newer), len(older)) > MAX_LINE:
        return False
    return _VOLATILE.sub("*", newer) == _VOLATILE.sub("*", older)


_FAILURES = (
    *("error", "exception", "traceback", "fail", "fatal", "denied", "refused", "invalid", "not found", "no such"),
    *("cannot", "unable", "timeout", "time out", "timedout", "timed out"),
)
_CODES = ("exit ", "status", "http")
_FAILURE_CODE = re.compile(r"exit (?:code|status):? *[1-9]|(?:status|http)[ :/.0-9]* [45]\d\d\b")


def _reports_failure(result: str) -> bool:
    """Whether a result has a word or a code of failure. One pattern for all takes ten times as long."""
    text = result.lower()
    if any(word in text for word in _FAILURES):
        return True
    return any(word in text for word in _CODES) and _FAILURE_CODE.search(text) is not None


_VOLATILE = re.compile(
    r"\b0x[0-9a-f]+\b"
    r"|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
    r"|\b[0-9a-f]{16,}\b"
    r"|\b(?:req|request|trace|run|call)[_-](?=\w*\d)\w{8,}\b"
    r"|\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)?"
    r"|\b\d{1,2}:\d\d:\d\d(?:[.,]\d+)?\b"
    r"|\b\d+(?:\.\d+)? ?(?:s|secs?|seconds?|mins?|minutes?|ms|us|µs|ns)\b"
    r"|\b(?:attempt|try|retry|pid)[ #:=]*\d+\b"
    r"|/tmp/[\w./-]+",
    re.IGNORECASE,
)


_WORD = re.compile(r"\w+")


def _split_words(answer: str) -> frozenset[str]:
    """The words of an answer; a very long one is a word of its own."""
    if len(answer) > MAX_COMPARED:
        return frozenset((answer,))
    return frozenset(_WORD.findall(answer.casefold()))


def _name_tools(steps: Iterable[AgentStep]) -> list[str]:
    """The names of the tools of steps, those of one step joined."""
    return ["+".join(dict.fromkeys(use.tool[:64] for use in step.uses))[:200] for step in steps]


def _quote(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
