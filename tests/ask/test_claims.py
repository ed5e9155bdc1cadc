"""The claims of an answer: sentences with the passages that they cite, and those that cite none."""

from __future__ import annotations

import pytest

from lakehouse.ask.citation_marks import CitationMarks
from lakehouse.ask.claims import split_claims

CLAIMS = [
    ("It stands still [1]. It waits.", [("It stands still [1].", (1,)), ("It waits.", ())]),
    ("It stands still. [1] It waits [2][1].", [("It stands still. [1]", (1,)), ("It waits [2][1].", (2, 1))]),
    ("Use e.g. Python 3.11 on Dr. Li's machine [1].", [("Use e.g. Python 3.11 on Dr. Li's machine [1].", (1,))]),
    ("Is it so? Yes! [2]", [("Is it so?", ()), ("Yes! [2]", (2,))]),
    ("鷺は立つ。[1]千鳥は走る。", [("鷺は立つ。[1]", (1,)), ("千鳥は走る。", ())]),
    ("Two birds:\n\n- a heron [1]\n2. a plover", [("Two birds:", ()), ("a heron [1]", (1,)), ("a plover", ())]),
    ("# Birds\nThey run\n[2]\n---\n", [("Birds", ()), ("They run", (2,))]),
    ("Run `a[1]. b` twice [2].", [("Run `a[1]. b` twice [2].", (2,))]),
    ("So [1]:\n```\nx[2]\n\ny\n```\nDone.", [("So [1]:", (1,)), ("```\nx[2]\n\ny\n```", ()), ("Done.", ())]),
    ('He said "stop." [1] She went', [('He said "stop." [1]', (1,)), ("She went", ())]),
    ("", []),
    ("...", []),
]


@pytest.mark.parametrize(("answer", "claims"), CLAIMS)
def test_each_sentence_is_a_claim_with_what_it_cites(answer: str, claims: list[tuple[str, tuple[int, ...]]]) -> None:
    found = split_claims(answer)
    assert [(claim.text, claim.citations) for claim in found] == claims
    assert all(claim.text in answer for claim in found)


@pytest.mark.parametrize(
    "long",
    ["." * 300_000 + "a", "a. " * 100_000, "A. b " * 60_000, "`" * 300_000, "` `` " * 60_000, "[" * 300_000, ". " + " " * 300_000, "[1]" * 100_000],
    ids=["dots", "sentences", "abbreviations", "backticks", "spans", "brackets", "blanks", "marks"],
)  # fmt: skip
def test_the_time_grows_with_the_length_of_the_answer_only(long: str) -> None:
    """With a time that grows with its square, each of these would take minutes."""
    marks = CitationMarks(3)
    checked = marks.feed(long) + marks.finish()
    assert len(checked) == len(long)
    split_claims(checked)
