"""The fast path of completions gives the same answer as the full reader, or leaves a completion to it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.chat.dialects.chat_completions.completion_fast_path import decode_text_only
from lakehouse.chat.dialects.chat_completions.decode import CompletionReader
from lakehouse.chat.dialects.decoding.event_parser import decode_body
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.answer import ProviderAnswer, Supplements
from lakehouse.chat.model.usage import Usage
from lakehouse.core.errors import LakehouseError
from tools.kit import wire_files


def completion(message: object = None, choice: dict[str, Any] | None = None, /, **fields: object) -> dict[str, Any]:
    said = {"role": "assistant", "content": "Hello."} if message is None else message
    return {"id": "c", "choices": [{"index": 0, "message": said, "finish_reason": "stop", **(choice or {})}], **fields}


def beside(**fields: object) -> dict[str, Any]:
    return completion({"role": "assistant", "content": "Hello.", **fields})


EMPTY: dict[str, Any] = {
    "refusal": None,
    "reasoning": None,
    "reasoning_content": "",
    "reasoning_details": [],
    "tool_calls": [],
}
USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 5,
    "total_tokens": 17,
    "cached_tokens": 1,
    "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 2},
    "cost": 0.000304,
}

TEXT_ONLY: list[tuple[Any, ProviderAnswer]] = [
    (completion(), ProviderAnswer(content="Hello.", finish_reason="stop")),
    (beside(**EMPTY, annotations=[]), ProviderAnswer(content="Hello.", finish_reason="stop")),
    (completion(None, {"finish_reason": None}), ProviderAnswer(content="Hello.", finish_reason="stop")),
    (completion(None, {"finish_reason": "LENGTH"}), ProviderAnswer(content="Hello.", finish_reason="length")),
    (completion(None, {"finish_reason": "eos"}), ProviderAnswer(content="Hello.", finish_reason="stop")),
    (
        completion(usage=USAGE, object="chat.completion", provider="DeepInfra"),
        ProviderAnswer(
            content="Hello.",
            finish_reason="stop",
            usage=Usage(
                input_tokens=12,
                output_tokens=5,
                cached_tokens=3,
                reasoning_tokens=2,
                cost_usd=0.000304,
                input_details={"audio_tokens": 0},
            ),
        ),
    ),
    (
        completion(service_tier="default", system_fingerprint="fp_1"),
        ProviderAnswer(
            content="Hello.",
            finish_reason="stop",
            supplements=Supplements(service_tier="default", system_fingerprint="fp_1"),
        ),
    ),
    (completion(service_tier="", system_fingerprint=None), ProviderAnswer(content="Hello.", finish_reason="stop")),
    (
        completion(usage={"prompt_cache_hit_tokens": 3, "completion_tokens_details": {"audio_tokens": 1, "x": None}}),
        ProviderAnswer(
            content="Hello.", finish_reason="stop", usage=Usage(cached_tokens=3, output_details={"audio_tokens": 1})
        ),
    ),
    (
        completion(usage={"prompt_tokens": 0, "cached_tokens": 1, "cost": 0}),
        ProviderAnswer(
            content="Hello.", finish_reason="stop", usage=Usage(input_tokens=0, cached_tokens=1, cost_usd=0.0)
        ),
    ),
]


@pytest.mark.parametrize(("document", "reply"), TEXT_ONLY)
def test_text_only_answers_take_the_fast_path(document: Any, reply: ProviderAnswer) -> None:
    body = json.dumps(document).encode()
    assert decode_text_only(body, Quirks()) == reply
    assert decode_body(body, CompletionReader(Quirks())) == reply


@pytest.mark.parametrize(
    "document",
    [
        beside(reasoning="Hm."),
        beside(reasoning_details=[{"type": "reasoning.text", "text": "Hm."}]),
        beside(refusal="No."),
        beside(tool_calls=[{"id": "1", "function": {"name": "f", "arguments": "{}"}}]),
        completion({"role": "assistant", "content": [{"type": "text", "text": "Hello."}]}),
        completion({"role": "assistant", "content": ""}),
        completion(None, {"error": {"message": "broken"}}),
        beside(annotations=[{"type": "url_citation"}]),
        beside(images=[{"type": "image_url"}]),
        beside(audio={"data": "AA=="}),
        completion(None, {"logprobs": {"content": []}}),
        completion(citations=["https://x"]),
        completion(search_results=[{}]),
        completion(moderation={"input": {}}),
        completion(usage={"prompt_tokens_details": {"x": {}}}),
        completion(usage={"prompt_tokens": 2**53}),
        completion(None, {"usage": {"prompt_tokens": 1}}),
        completion(None, {"finish_reason": "error"}),
        completion(error={"message": "overloaded"}),
        completion(object="error"),
        completion(type="error"),
        completion(cost="0.1"),
        completion(usage={"prompt_tokens": 1.0}),
        completion(usage={"prompt_tokens": True}),
        completion(usage={"prompt_tokens": -1}),
        completion(usage={"cost": "0.1"}),
        completion(usage={"cost": -1}),
        {"choices": []},
        {"choices": [None]},
        [],
    ],
)
def test_other_answers_are_left_to_the_reader(document: Any) -> None:
    assert decode_text_only(json.dumps(document).encode(), Quirks()) is None


@pytest.mark.parametrize("inline", ["tagged", "unopened"])
def test_text_that_may_hold_reasoning_is_left_to_the_reader(inline: Any) -> None:
    leaky = Quirks(inline_think=inline)
    assert decode_text_only(json.dumps(completion({"content": "<think>Hm.</think>Hello."})).encode(), leaky) is None
    body = json.dumps(completion({"content": "  <th"})).encode()
    assert (
        decode_text_only(body, leaky)
        == decode_body(body, CompletionReader(leaky))
        == ProviderAnswer(content="  <th", finish_reason="stop")
    )


@pytest.mark.parametrize("entry", wire_files.chats(".json"), ids=lambda entry: entry["file"])
def test_wire_files_decode_the_same_on_both_paths(entry: dict[str, Any]) -> None:
    body, quirks = wire_files.body_of(entry), wire_files.quirks_of(entry)
    if (reply := decode_text_only(body, quirks)) is not None:
        assert reply == decode_body(body, CompletionReader(quirks))


ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        "",
        "x",
        0,
        1,
        -1,
        1.5,
        2**60,
        True,
        [],
        {},
        [None],
        [{}],
        {"cached_tokens": 4, "x": 1},
        {"reasoning_tokens": 2},
    ]
)
MESSAGES = st.fixed_dictionaries(
    {"content": st.one_of(ODD, st.text())},
    optional=dict.fromkeys([*EMPTY, "thinking", "function_call", "annotations", "images", "audio"], ODD),
)
CHOICES = st.fixed_dictionaries(
    {"message": st.one_of(MESSAGES, ODD)},
    optional={
        "finish_reason": st.sampled_from([None, "stop", "length", "Content_Filter", "tool_calls", "error", 7]),
        "delta": ODD,
        "error": ODD,
        "usage": ODD,
        "logprobs": st.one_of(ODD, st.just({"content": [{"token": "a", "logprob": -1}], "refusal": None})),
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {"choices": st.one_of(st.lists(CHOICES, min_size=1, max_size=2), ODD)},
    optional={
        "usage": st.one_of(
            ODD, st.fixed_dictionaries({}, optional=dict.fromkeys([*USAGE, "prompt_cache_hit_tokens"], ODD))
        ),
        "object": st.sampled_from(["chat.completion", "error", None, 1]),
        "type": ODD,
        "error": ODD,
        "cost": ODD,
        **dict.fromkeys(["service_tier", "system_fingerprint", "moderation", "citations", "search_results"], ODD),
    },
)


@given(DOCUMENTS, st.sampled_from(["never", "tagged", "unopened"]))
def test_it_gives_the_same_answer_as_the_reader(document: Any, inline: Any) -> None:
    body, quirks = json.dumps(document).encode(), Quirks(inline_think=inline)
    reply = decode_text_only(body, quirks)
    if reply is None:
        return
    try:
        assert decode_body(body, CompletionReader(quirks)) == reply
    except LakehouseError as error:
        pytest.fail(f"the other reader refuses it: {error}")
