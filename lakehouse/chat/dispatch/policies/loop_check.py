"""A chat's messages as steps, for the rules that find the loops of an agent (`lakehouse.sessions.loops`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from lakehouse.chat.model.parts import Part, TextPart
from lakehouse.chat.model.request import Message
from lakehouse.chat.model.tool_calls import Function
from lakehouse.sessions.loops import BASE_ANSWERS, MAX_CYCLE, AgentStep, Content, LoopRules, ToolUse, is_same_json


def is_loop_possible(messages: Sequence[Message], rules: LoopRules) -> bool:
    """Whether the last step ends like one of the `MAX_CYCLE` before it. In most histories it does not."""
    last: Function | None = None
    steps, answered = 0, False
    for message in reversed(messages):
        if message.role != "assistant" or answered:
            answered = message.role == "assistant"
            continue
        answered = True
        calls = message.tool_calls
        if last is None:
            if not calls:
                return _is_input_repeated(messages, rules)
            last = calls[-1].function
        elif calls and _is_same_call(last, calls[-1].function):
            return True
        steps += 1
        if steps > MAX_CYCLE:
            break
    return False


def _is_same_call(newer: Function, older: Function) -> bool:
    return newer.name == older.name and is_same_json(newer.arguments, older.arguments)


def _is_input_repeated(messages: Sequence[Message], rules: LoopRules) -> bool:
    """Whether the last message was there before, as far back as the rule for answers reads."""
    if not rules.answers_without_new_words:
        return False
    newest = _drop_hints(messages[-1].content)
    reach = 4 * (rules.answers_without_new_words + BASE_ANSWERS)
    return any(_drop_hints(message.content) == newest for message in messages[-reach:-1])


def iterate_steps(messages: Sequence[Message]) -> Iterator[AgentStep]:
    """The steps of a conversation, the newest first. What precedes the first answer belongs to none."""
    answers: list[Message] = []
    inputs: list[Content] = []
    results: dict[str, Content] = {}
    for message in reversed(messages):
        if message.role == "assistant":
            answers.append(message)
            continue
        if answers:
            yield _make_step(answers, inputs, results)
            answers, inputs, results = [], [], {}
        if message.role == "tool" and message.tool_call_id is not None:
            results[message.tool_call_id] = _drop_hints(message.content)
        else:
            inputs.append(_drop_hints(message.content))
    if answers:
        yield _make_step(answers, inputs, results)


def _drop_hints(content: str | tuple[Part, ...] | None) -> Content:
    """A content without hints for caches, which clients move on to the newest messages; texts become one text."""
    if not isinstance(content, tuple):
        return content
    texts = [part.text for part in content if isinstance(part, TextPart)]
    if len(texts) == len(content):
        return "\n".join(texts)
    return tuple(msgspec.structs.replace(part, cache_control=None) for part in content)


def _make_step(answers: Sequence[Message], inputs: Sequence[Content], results: Mapping[str, Content]) -> AgentStep:
    """The step of answers that follow each other, the newest first, as are the inputs behind them."""
    uses = [
        ToolUse(call.function.name, call.function.arguments, results.get(call.id))
        for answer in reversed(answers)
        for call in answer.tool_calls
    ]
    text = "\n".join(answer.text for answer in reversed(answers))
    return AgentStep(answer=text, uses=uses, inputs=inputs[::-1])
