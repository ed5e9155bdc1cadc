"""The rules that find loops, over recorded shapes of conversations: loops of agents, and long runs that make progress."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.chat.dispatch.policies.loop_check import is_loop_possible, iterate_steps
from lakehouse.chat.model.request import Request
from lakehouse.sessions.loops import LoopRules, find_loop
from lakehouse.sessions.violations import Violation
from tools.kit.examples import count_examples

N = 5
RULES = LoopRules(same_tool_calls=N, tool_cycles=N - 1, answers_without_new_words=N)

Messages = list[dict[str, Any]]
START: Messages = [{"role": "system", "content": "You work on code."}, {"role": "user", "content": "Fix the tests."}]


def step(*uses: tuple[str, object, object], say: str | None = None, then: str | None = None) -> Messages:
    """One answer with tool calls, their results, and what the client adds behind them."""
    calls = [
        {"id": f"call-{number}", "type": "function", "function": {"name": tool, "arguments": json.dumps(arguments)}}
        for number, (tool, arguments, _) in enumerate(uses)
    ]
    answer: dict[str, Any] = {"role": "assistant", "content": say, "tool_calls": calls}
    results = [
        {"role": "tool", "tool_call_id": f"call-{number}", "content": result}
        for number, (_, _, result) in enumerate(uses)
    ]
    return [answer, *results, *([{"role": "user", "content": then}] if then else [])]


def say(answer: str, then: object) -> Messages:
    return [{"role": "assistant", "content": answer}, {"role": "user", "content": then}]


def repeat(count: int, make: Callable[[int], Messages]) -> Messages:
    return [message for number in range(count) for message in make(number)]


def find(messages: Messages, rules: LoopRules = RULES) -> Violation | None:
    history = Request(model="m", messages=[*START, *messages]).messages
    found = find_loop(iterate_steps(history), rules)
    assert found is None or (is_loop_possible(history, rules) and len(history) >= 2 * rules.shortest)
    return found


MISSING = "Error: ENOENT: no such file or directory, open '/src/app.py'"


def fail_slowly(number: int) -> Messages:
    out = f"2 failed, 40 passed in {number + 0.37:.2f}s\nat 0x7f{number:04x}, request req_01Ab{number:06}"
    return step(("bash", {"command": "pytest -q"}, out))


def press(number: int) -> Messages:
    return step(("read", {"path": "/src/app.py"}, MISSING), ("list", {"path": "/src"}, "app.py.orig"))


def turn_about(number: int) -> Messages:
    if number % 2:
        return step(("edit", {"path": "a.py", "old": "x", "new": "y"}, "Error: `old` was not found in a.py"))
    return step(("read", {"path": "a.py"}, "y = 1\n"), say=f"Attempt {number}: I look again.")


def round_of_three(number: int) -> Messages:
    tools = ("plan", "build", "check")
    return step((tools[number % 3], {}, f"{tools[number % 3]}: error"))


def hint(text: str) -> Any:
    """A content as clients write the newest one, for the provider's cache."""
    return [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]


LOOPS = [
    (
        "same_tool_calls",
        lambda: repeat(N, lambda n: step(("read", {"path": "/src"}, hint(MISSING) if n == N - 1 else MISSING))),
    ),
    (
        "answers_without_new_words",
        lambda: repeat(N + 1, lambda n: say("The tests pass.", hint("Continue.") if n >= N - 1 else "Continue.")),
    ),
    ("same_tool_calls", lambda: repeat(N, lambda _: step(("read", {"path": "/src/app.py"}, MISSING)))),
    ("same_tool_calls", lambda: repeat(N, lambda n: step(("read", {"path": "/src/app.py"}, MISSING), say=f"Try {n}."))),
    (
        "same_tool_calls",
        lambda: repeat(N, lambda _: step(("read", {}, "x"), then="<reminder>Use the list.</reminder>")),
    ),
    ("same_tool_calls", lambda: repeat(N, lambda n: step(("q", dict([("a", 1), ("b", 2)][:: 1 - n % 2 * 2]), "{}")))),
    ("same_tool_calls", lambda: repeat(N, press)),
    ("same_tool_calls", lambda: repeat(N, fail_slowly)),
    ("tool_cycles", lambda: repeat(2 * N - 2, turn_about)),
    ("tool_cycles", lambda: repeat(3 * N - 3, round_of_three)),
    ("answers_without_new_words", lambda: repeat(N + 1, lambda _: say("The tests are fixed.", "Continue."))),
    (
        "answers_without_new_words",
        lambda: repeat(N + 2, lambda n: say(("Done.", "The tests pass.")[n % 2], "Continue.")),
    ),
]


@pytest.mark.parametrize(("rule", "make"), LOOPS)
def test_a_loop_is_found_when_it_is_one_and_not_before(rule: str, make: Callable[[], Messages]) -> None:
    before: Messages = [*step(("bash", {"command": "ls"}, "a.py")), *say("I found a file.", "Go on.")]
    messages = [*before, *make()]
    found = find(messages)
    assert found is not None
    assert found.rule == rule
    assert not any(secret in found.reason + str(found.evidence) for secret in ("/src", "ENOENT", "pass", "pytest"))
    assert find(messages[: _last_answer(messages)]) is None
    assert find(messages, LoopRules()) is None
    assert find([*messages, {"role": "user", "content": "Stop that. Read the README instead."}]) is None


def _last_answer(messages: Messages) -> int:
    return max(number for number, message in enumerate(messages) if message["role"] == "assistant")


def poll(number: int) -> Messages:
    return step(("bash", {"command": "gh run view 12"}, f"in progress: {number + 1} of 400 jobs, errors: 0"))


def read_in_turn(number: int) -> Messages:
    return step(("read", {"path": f"/src/module_{number}.py"}, "import os\n"))


def page(number: int) -> Messages:
    return step(("search", {"query": "TODO", "page": number}, "no results on this page"))


def edit_and_test(number: int) -> Messages:
    edit = step(("edit", {"path": "a.py", "old": f"v{number}", "new": f"v{number + 1}"}, "ok"))
    return [*edit, *step(("bash", {"command": "pytest -q"}, "1 failed, 41 passed in 0.31s"))]


def undo_and_test(number: int) -> Messages:
    """The same two edits in turn, but the tests get better."""
    old, new = ("a", "b") if number % 2 else ("b", "a")
    edit = step(("edit", {"path": "a.py", "old": old, "new": new}, "ok"))
    return [*edit, *step(("bash", {"command": "pytest -q"}, f"{number // 2} passed"))]


def grow(number: int) -> Messages:
    log = "".join(f"12:00:{second:02} Error: connection refused, retrying\n" for second in range(number + 1))
    return step(("bash", {"command": "tail server.log"}, log))


def screenshot(number: int) -> Messages:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{number:04}"}}
    return step(("screenshot", {}, [image]))


def converse(number: int) -> Messages:
    return say("Yes." if number % 3 else "No.", f"Is {number} prime to three?")


def stop_twice(number: int) -> Messages:
    """A tool that fails in the same way, one time less than the rule says, and then something else."""
    return [*repeat(N - 1, lambda _: step(("read", {"path": "x"}, MISSING))), *step(("list", {"of": number}, "x"))]


def count_down(number: int) -> Messages:
    return step(("bash", {"command": "make 2>&1 | grep -c error"}, f"{400 - number} errors"))


def alternate_with_news(number: int) -> Messages:
    return [*step(("wait", {"seconds": 30}, "ok")), *step(("status", {}, f"stage {number // 3}: failed retries: 0"))]


HONEST = [
    poll,
    read_in_turn,
    page,
    edit_and_test,
    undo_and_test,
    grow,
    screenshot,
    converse,
    stop_twice,
    count_down,
    alternate_with_news,
]


@pytest.mark.parametrize("make", HONEST)
def test_a_long_run_that_makes_progress_is_never_stopped(make: Callable[[int], Messages]) -> None:
    messages: Messages = []
    for number in range(100):
        messages += make(number)
        assert find(messages) is None, number


def test_the_end_of_a_long_history_is_read_and_no_more() -> None:
    read = 0

    def count(history: Iterable[Any]) -> Iterable[Any]:
        nonlocal read
        for one in history:
            read += 1
            yield one

    request = Request(model="m", messages=[*START, *repeat(1_000, read_in_turn)])
    assert find_loop(count(iterate_steps(request.messages)), RULES) is None
    assert read <= N + 3


def fail_at_length(lines: int) -> Callable[[int], Messages]:
    """A tool whose output ends in a failure, with so many lines that have the time."""

    def make(number: int) -> Messages:
        output = "".join(f"2026-11-30 01:02:{number:02d} step {line} of the build\n" for line in range(lines))
        return step(("bash", {"command": "make"}, output + "make: error 2"))

    return make


def test_the_time_for_the_comparison_of_outputs_is_bounded() -> None:
    found = find(repeat(N + 1, fail_at_length(200)))
    assert found is not None
    assert found.rule == "same_tool_calls"
    assert find(repeat(N + 1, fail_at_length(20_000))) is None


def test_answers_that_follow_each_other_are_one_turn() -> None:
    both = step(("read", {}, "x"), ("list", {}, "y"))
    apart = [
        {**both[0], "tool_calls": both[0]["tool_calls"][:1]},
        {"role": "assistant", "content": None, "tool_calls": both[0]["tool_calls"][1:]},
        *reversed(both[1:]),
    ]
    steps = [list(iterate_steps(Request(model="m", messages=[*START, *part]).messages)) for part in (both, apart)]
    assert [one.uses for one in steps[0]] == [one.uses for one in steps[1]]


@given(st.lists(st.integers(0, 2), max_size=40), st.integers(2, 4), st.integers(2, 4))
@settings(max_examples=count_examples(100), deadline=None)
def test_the_rules_say_what_a_plain_search_says(tools: Sequence[int], same: int, cycles: int) -> None:
    """Each number is a tool that has always the same result."""
    messages = repeat(len(tools), lambda number: step((f"tool-{tools[number]}", {}, "result")))
    found = find(messages, LoopRules(same_tool_calls=same, tool_cycles=cycles))
    newest = list(reversed(tools))
    repeated = len(newest) >= same and len(set(newest[:same])) == 1
    cycled = any(
        len(newest) >= length * cycles
        and newest[: length * cycles] == newest[:length] * cycles
        and len(set(newest[:length])) > 1
        for length in (2, 3, 4)
    )
    assert (found and found.rule) == ("same_tool_calls" if repeated else "tool_cycles" if cycled else None)


@given(st.integers(0, 2**32))
@settings(max_examples=count_examples(30), deadline=None)
def test_results_that_always_differ_are_never_a_loop(seed: int) -> None:
    draw = Random(seed)
    messages = repeat(30, lambda number: step((draw.choice("ab"), {}, f"{draw.choice(('error', 'ok'))} line {number}")))
    assert find(messages, LoopRules(same_tool_calls=2, tool_cycles=2, answers_without_new_words=2)) is None
