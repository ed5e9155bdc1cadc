"""The claims of an answer: sentences with the passages that they cite, and those that cite none."""

from __future__ import annotations

import pytest

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
