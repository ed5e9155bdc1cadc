"""The fast paths of relayed answers read what reader and check read, or leave an answer to them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.chat.dialects.base import Dialect
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.messages.dialect import MESSAGES
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.responses.dialect import RESPONSES
from lakehouse.core.errors import LakehouseError
from tests.chat.forms.provider_dialects import DIALECTS as PROVIDERS
from tools.kit.examples import count_examples

DIALECTS = {dialect.form: dialect for dialect in (CHAT_COMPLETIONS, MESSAGES, RESPONSES)}
PLAIN = {provider.name: json.loads(provider.plain[0]) for provider in PROVIDERS}
CUT = {provider.name: json.loads(provider.cut[0]) for provider in PROVIDERS}
ODD: st.SearchStrategy[Any] = st.sampled_from(
    ["null", '""', '"x"', '"stop"', "0", "7", "-1", "1.5", str(2**60), "true", "[]", "{}", "[null]", "[{}]", '"error"',
     '"0.1"', '{"cached_tokens": 4}']
).map(json.loads)  # fmt: skip
TEXTS = st.sampled_from(["", "Hi", "<think>x</think>Hi", "\u2028"])
ADDED = (
    *("error", "object", "type", "cost", "service_tier", "system_fingerprint", "citations", "moderation", "novel"),
    *("reasoning", "reasoning_content", "refusal", "tool_calls", "logprobs", "annotations", "usage", "status", "role"),
)


def list_places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in a document, that of the document first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, part in inner for place in list_places(part, (*path, name)))]


@st.composite
def changed_documents(draw: st.DrawFn, form: str) -> Any:
    """An answer of a dialect in which a few values are others, or are missing, or are more."""
    document = json.loads(json.dumps(draw(st.sampled_from([PLAIN[form], CUT[form]]))))
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(list_places(document)))
        target = document
        for name in path[:-1]:
            target = target[name]
        holder = target[path[-1]] if path else document
        if isinstance(holder, dict) and draw(st.booleans()):
            holder[draw(st.sampled_from(ADDED))] = draw(ODD)
        elif path and isinstance(target, dict) and draw(st.booleans()):
            del target[path[-1]]
        elif path:
            target[path[-1]] = draw(ODD | TEXTS)
    return document


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_a_plain_answer_takes_the_fast_path(dialect: Dialect) -> None:
    assert dialect.relay is not None
    answer = dialect.relay.decode_text(json.dumps(PLAIN[dialect.form]).encode(), Quirks())
    assert answer is not None
    assert (answer.content, answer.finish_reason) == ("Hi", "stop")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (10, 3)


@settings(max_examples=count_examples(300))
@given(
    st.sampled_from(list(DIALECTS)).flatmap(lambda form: st.tuples(st.just(form), changed_documents(form))),
    st.sampled_from(["never", "tagged", "unopened"]),
)
def test_it_reads_the_answers_of_reader_and_check(case: tuple[Any, Any], inline: Any) -> None:
    form, document = case
    dialect, body, quirks = DIALECTS[form], json.dumps(document).encode(), Quirks(inline_think=inline)
    assert dialect.relay is not None
    answer = dialect.relay.decode_text(body, quirks)
    if answer is None:
        return
    try:
        assert dialect.decode(body, quirks=quirks) == answer
    except LakehouseError as error:
        pytest.fail(f"the reader refuses it: {error}")
    assert dialect.relay.is_well_formed(body, answer)
