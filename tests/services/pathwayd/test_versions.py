"""The chain of versions of a trace: read in pages of any length, and refused where it leads into itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from lakehouse.core.errors import ErrConflict
from lakehouse.services.pathwayd.trace_rows import NewTrace, Row, follow_versions


class Versions:
    """Traces by their ids, with the ids of the versions before them; `page` of them are read at once."""

    def __init__(self, predecessors: Mapping[str, str | None], page: int) -> None:
        self.reads: list[str] = []
        self._predecessors = predecessors
        self._page = page

    def read(self, uid: str) -> Sequence[Row]:
        self.reads.append(uid)
        found: list[Row] = []
        following: str | None = uid
        while following is not None and following in self._predecessors and len(found) < self._page:
            before = self._predecessors[following]
            new = NewTrace(uid=following, content=b"1", predecessor=before, created=0, tags=(), sources=())
            found.append(new.make_row(len(found), 0))
            following = before
        return found

    def follow(self, uid: str) -> list[str]:
        return [row.uid for row in follow_versions(uid, self.read)]


@pytest.mark.parametrize(("page", "reads"), [(1, ["d", "c", "b", "a"]), (3, ["d", "a"]), (9, ["d"])])
def test_a_chain_is_read_in_pages(page: int, reads: list[str]) -> None:
    versions = Versions({"a": None, "b": "a", "c": "b", "d": "c"}, page)
    assert versions.follow("d") == ["d", "c", "b", "a"]
    assert versions.reads == reads


def test_a_chain_ends_where_a_version_is_missing() -> None:
    assert Versions({"b": "gone", "c": "b"}, 2).follow("c") == ["c", "b"]
    assert Versions({}, 2).follow("c") == []


@pytest.mark.parametrize("page", [1, 2, 9])
def test_a_chain_that_leads_into_itself_is_refused(page: int) -> None:
    versions = Versions({"a": "c", "b": "a", "c": "b", "d": "c"}, page)
    with pytest.raises(ErrConflict, match="the versions of the trace 'd' lead back to 'c'"):
        versions.follow("d")
