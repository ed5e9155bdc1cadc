"""Citation marks: what points at a passage stays, what does not is removed, in whatever pieces the text arrives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.ask.citation_marks import MAX_HELD, CitationMarks
from lakehouse.ask.claims import split_claims

MARKS = [
    ("It stands [1].", "It stands [1].", {1}),
    ("It stands [1][2].", "It stands [1][2].", {1, 2}),
    ("It stands [1, 3].", "It stands [1][3].", {1, 3}),
    ("It stands [1; 3].", "It stands [1][3].", {1, 3}),
    ("It stands [1-3].", "It stands [1][2][3].", {1, 2, 3}),
    ("It stands [1\u20132].", "It stands [1][2].", {1, 2}),
    ("It stands [^2].", "It stands [2].", {2}),
    ("It stands 【2†heron.md】.", "It stands [2].", {2}),
    ("It stands [ 2 ].", "It stands [2].", {2}),
    ("It stands [2, 2].", "It stands [2].", {2}),
    ("It stands [4].", "It stands.", set()),
    ("It stands [0].", "It stands.", set()),
    ("It stands [1, 9].", "It stands [1].", {1}),
    ("It stands [7][8] still.", "It stands still.", set()),
    ("It stands [999999].", "It stands.", set()),
    ("It stands [1-999999].", "It stands [1].", {1}),
    ("[1] is a heron.", "[1] is a heron.", {1}),
    ("[a] [ ] [x] [1a]", "[a] [ ] [x] [1a]", set()),
    ("see [the guide](x) [1]", "see [the guide](x) [1]", {1}),
    ("[[9]1]", "[[]1]", set()),
    ("`values[0]` holds it [2].", "`values[0]` holds it [2].", {2}),
    ("``a`[7]`` then [7] [1]", "``a`[7]`` then [1]", {1}),
    ("a ` alone [9]\nand [9] on [1]", "a ` alone [9]\nand on [1]", {1}),
    ("```py\nx = y[0]\n```\nDone [1] [9].", "```py\nx = y[0]\n```\nDone [1].", {1}),
    ("```\n`[9]`\n[9]", "```\n`[9]`\n[9]", set()),
    ("It waits [", "It waits [", set()),
    ("It waits [1", "It waits [1", set()),
    ("It waits  ", "It waits  ", set()),
]


def check(text: str, *cuts: int) -> tuple[str, set[int]]:
    marks, at, checked = CitationMarks(3), 0, ""
    for cut in (*sorted(min(cut, len(text)) for cut in cuts), len(text)):
        checked += marks.feed(text[at:cut])
        at = cut
    return checked + marks.finish(), marks.cited


@pytest.mark.parametrize(("text", "checked", "cited"), MARKS)
def test_marks_are_checked_against_the_passages(text: str, checked: str, cited: set[int]) -> None:
    assert check(text) == (checked, cited)


@pytest.mark.parametrize(("text", "checked", "cited"), MARKS)
def test_a_mark_may_be_split_anywhere(text: str, checked: str, cited: set[int]) -> None:
    assert check(text, *range(len(text))) == (checked, cited)
    for cut in range(len(text)):
        assert check(text, cut) == (checked, cited)


FRAGMENTS = [
    "[",
    "]",
    "1",
    "2",
    "9",
    "12",
    ",",
    "-",
    "\u2013",
    " ",
    "   ",
    "`",
    "``",
    "```",
    "\n",
    "a",
    "is. ",
    "【",
    "】",
]
FRAGMENTS += ["†", "^", ":", ". ", "\t", "[1]", "[9]", " [2, 9]", "é", "\u2028"]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join), st.lists(st.integers(0, 80), max_size=8))
def test_the_pieces_make_no_difference_and_every_citation_of_a_claim_was_checked(text: str, cuts: list[int]) -> None:
    checked, cited = check(text)
    assert check(text, *cuts) == (checked, cited)
    assert {number for claim in split_claims(checked) for number in claim.citations} <= cited <= {1, 2, 3}


@pytest.mark.parametrize("piece", ["A heron ", "stands", "\n", "still.", "(1)", "a[b", "x]"])
def test_text_that_can_begin_no_mark_is_passed_on_at_once(piece: str) -> None:
    assert CitationMarks(3).feed(piece) == piece.rstrip(" ")


def test_what_is_held_back_is_bounded() -> None:
    marks = CitationMarks(3)
    passed = "".join(marks.feed(piece) for piece in ["["] + ["1, "] * 1000)
    assert 3001 - len(passed) <= MAX_HELD
