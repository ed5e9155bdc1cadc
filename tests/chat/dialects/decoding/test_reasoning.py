"""Reasoning in fields, in details and inside the text."""

from __future__ import annotations

from typing import Any

import pytest

from lakehouse.chat.dialects.decoding.answer_builder import AnswerBuilder
from lakehouse.chat.dialects.decoding.reasoning import ReasoningDetails, find_reasoning
from lakehouse.chat.dialects.decoding.think_splitter import ThinkSplitter
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.pieces import ContentPiece, ReasoningPiece


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"reasoning_content": "a", "reasoning": "b", "thinking": "c"}, "a"),
        ({"reasoning_content": None, "reasoning": "b", "thinking": "c"}, "b"),
        ({"reasoning_content": "", "reasoning": 5, "thinking": "c"}, "c"),
        ({"reasoning": "a", "reasoning_details": [{"text": "a"}]}, "a"),
        ({"reasoning": None, "reasoning_details": [{"text": "a"}, {"summary": "b"}, {"data": "x"}, 7]}, "ab"),
        ({}, ""),
    ],
)
def test_reasoning_fields(message: dict[str, Any], expected: str) -> None:
    assert find_reasoning(message) == expected


def test_details_are_assembled_by_index() -> None:
    details = ReasoningDetails()
    details.add([{"type": "reasoning.text", "text": "a", "index": 0, "format": "f"}])
    details.add([{"type": "reasoning.text", "text": "b", "index": 0, "signature": None}])
    details.add(
        [
            {"type": "reasoning.text", "signature": "s", "index": 0},
            {"type": "reasoning.encrypted", "data": "x", "index": 0},
        ]
    )
    details.add([{"type": "reasoning.summary", "summary": "c"}, {"type": "reasoning.summary", "summary": "d"}])
    assert details.entries == [
        {"type": "reasoning.text", "text": "ab", "index": 0, "format": "f", "signature": "s"},
        {"type": "reasoning.encrypted", "data": "x", "index": 0},
        {"type": "reasoning.summary", "summary": "c"},
        {"type": "reasoning.summary", "summary": "d"},
    ]


LEAKS = [
    # text, then reasoning and content: with a required opening tag, and without
    ("<think>a</think>b", ("a", "b"), ("a", "b")),
    ("\n <think>\na\n</think>\n\nb", ("a\n", "b"), ("a\n", "b")),
    ("<think></think>b", ("", "b"), ("", "b")),
    ("<think>a", ("a", ""), ("a", "")),
    ("<think>a</thi", ("a</thi", ""), ("a</thi", "")),
    ("<think>a</thi b</think>c", ("a</thi b", "c"), ("a</thi b", "c")),
    ("a</think>b", ("", "a</think>b"), ("a", "b")),
    ("plain", ("", "plain"), ("", "plain")),
    ("<thin", ("", "<thin"), ("", "<thin")),
    ("<thinking>a", ("", "<thinking>a"), ("", "<thinking>a")),
    ("a <think>b</think>", ("", "a <think>b</think>"), ("a <think>b", "")),
    ("<think>a</think>b</think>c", ("a", "b</think>c"), ("a", "b</think>c")),
    ("", ("", ""), ("", "")),
]


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize(("text", "tagged", "unopened"), LEAKS)
def test_reasoning_inside_the_text_is_split_off(
    text: str, tagged: tuple[str, str], unopened: tuple[str, str], size: int
) -> None:
    for splitter, expected in ((ThinkSplitter(), tagged), (ThinkSplitter(unopened=True), unopened)):
        splits = [split for start in range(0, len(text), size) for split in splitter.feed(text[start : start + size])]
        splits += splitter.flush()
        assert all(split.text for split in splits)
        found = tuple(
            "".join(split.text for split in splits if split.kind == kind) for kind in ("reasoning", "content")
        )
        assert found == expected


def test_text_is_held_back_only_while_it_may_become_a_tag() -> None:
    splitter = ThinkSplitter()
    assert splitter.feed("<") == []
    assert splitter.feed("b>bold</b>") == [("content", "<b>bold</b>")]
    splitter = ThinkSplitter()
    assert splitter.feed("<think>some thought <") == [("reasoning", "some thought ")]
    assert splitter.feed("b") == [("reasoning", "<b")]


def test_reasoning_in_a_field_ends_the_search_for_tags() -> None:
    answer = AnswerBuilder(Quirks(inline_think="unopened"))
    deltas = [*answer.add_reasoning("a"), *answer.add_text("b </think> c")]
    assert deltas == [ReasoningPiece(text="a"), ContentPiece(text="b </think> c")]
