"""How many examples a property is tried with: all of them (`nox -s properties`), or a fifth in the suite."""

from __future__ import annotations

import os

EVERYTHING = os.environ.get("LAKEHOUSE_EXAMPLES") == "all"


def count_examples(number: int, *, everything: bool = EVERYTHING) -> int:
    """`max_examples` of a property; the suite tries a fifth, and at least 15."""
    return number if everything else min(number, max(15, number // 5))
