"""Which tests one process has where several share them: all of an engine's server, of a lake that is killed, or of a file.

Each process starts an engine of SQL for itself, and what a test judges by the processor time of its server must not be the
work of another test.
"""

from __future__ import annotations

import re

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

ENGINE = re.compile(r"spark|sail|flight")
LAKE = re.compile(r"tests/services/conformance/.*\[(warehouse|qdrant|chroma)-")


def find_group(test: str) -> str:
    """The group of a test by its id; only the first parameter names a server."""
    named = re.sub(r"(\[\w*).*", r"\1", test, flags=re.DOTALL)
    engine, lake = ENGINE.search(named), LAKE.match(test)
    if engine or lake:
        return engine[0] if engine else f"{lake and lake[1]}"
    return test.partition("::")[0]


def find_place(test: str) -> int:
    """The place of a test in the order of all: the largest one first, while the other processes have small ones."""
    if "test_spark_beside" in test:
        return 0
    return 1 if find_group(test) == "spark" else 2


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each group to one process, in the order in which the tests were collected."""

    def _split_scope(self, nodeid: str) -> str:
        return find_group(nodeid)
