"""The cache of states: what it keeps of a table, and what goes when it is full."""

from __future__ import annotations

from lakehouse.services.tables.messages import ColumnInfo, FileInfo, TableState
from lakehouse.services.tables.state_cache import StateCache, weigh
from lakehouse.services.tables.values import DescribedTable, convert_state


def state_of(name: str, location: str, *, files: int = 1) -> DescribedTable:
    """A table of one column, as the metadata file `location` has it."""
    return convert_state(
        TableState(
            name=name,
            location=location,
            snapshot_id="1",
            fingerprint="f",
            columns=(ColumnInfo("id", "BIGINT", True, 1),),
            files=tuple(FileInfo(f"datasets/{name}/data/{number}.parquet", 1, 1) for number in range(files)),
            row_count=files,
            created_ms=0,
            updated_ms=0,
        )
    )


def test_the_snapshots_of_the_newest_metadata_file_are_kept_and_those_of_others_are_not() -> None:
    cache = StateCache()
    newest, older, other = state_of("t", "1.json"), state_of("t", "1.json"), state_of("other", "1.json")
    cache.put(newest, None)
    cache.put(older, "17")
    cache.put(other, None)
    assert cache.get("t", "1.json", None) is newest
    assert cache.get("t", "1.json", "17") is older
    after = state_of("t", "2.json")
    cache.put(after, None)
    assert [cache.get("t", "1.json", None), cache.get("t", "1.json", "17")] == [None, None]
    assert cache.get("t", "2.json", None) is after
    assert cache.get("other", "1.json", None) is other


def test_what_was_used_longest_ago_goes_when_the_cache_is_full() -> None:
    states = {name: state_of(name, "1.json", files=5) for name in "abc"}
    cache = StateCache(max_weight=2 * weigh(states["a"]))
    for name in ("a", "b"):
        cache.put(states[name], None)
    for _ in range(5):
        cache.put(states["a"], None)  # in the place of itself
    cache.put(states["c"], None)
    assert [name for name in "abc" if cache.get(name, "1.json", None) is not None] == ["a", "c"]
    large = state_of("large", "1.json", files=100)
    cache.put(large, None)  # more than fits is kept alone
    assert [name for name in "abc" if cache.get(name, "1.json", None) is not None] == []
    assert cache.get("large", "1.json", None) is large
    cache.put(states["b"], None)
    assert cache.get("large", "1.json", None) is None
