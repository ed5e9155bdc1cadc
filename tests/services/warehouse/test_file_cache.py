"""The cache of data files: its bound, what is in use, and what a new process finds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lakehouse.core.errors import ErrUnavailable
from lakehouse.services.warehouse.file_cache import FileCache


def add(cache: FileCache, key: str, size: int, *, keep: bool = False) -> None:
    draft = cache.folder.parent / "draft"
    draft.write_bytes(bytes(size))
    cache.add(key, draft, size)
    if not keep:
        cache.release([key])


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def cache(tmp_path: Path) -> FileCache:
    return FileCache(tmp_path / "cache", 100)


def test_the_file_that_was_used_least_recently_makes_room(cache: FileCache) -> None:
    for key in ("t/a", "t/b"):
        add(cache, key, 40)
    assert cache.use("t/a", 40)
    cache.release(["t/a"])
    add(cache, "t/c", 60)
    assert names(cache.folder) == {"t/a", "t/c"}
    assert (cache.size, len(cache)) == (100, 2)


def test_files_in_use_stay_and_leave_no_room(cache: FileCache) -> None:
    add(cache, "a", 60, keep=True)
    with pytest.raises(ErrUnavailable, match=r"lake\.cache is 100 bytes"):
        add(cache, "b", 50)
    assert names(cache.folder) == {"a"}
    cache.release(["a"])
    add(cache, "b", 50)
    assert names(cache.folder) == {"b"}


def test_a_file_of_another_size_is_not_the_file(cache: FileCache) -> None:
    add(cache, "a", 10)
    assert not cache.use("a", 11)
    add(cache, "a", 11)
    assert cache.use("a", 11)
    assert cache.size == 11


def test_a_file_that_two_have_fetched_is_there_once(cache: FileCache) -> None:
    add(cache, "a", 60, keep=True)
    add(cache, "a", 60, keep=True)
    assert cache.size == 60
    cache.release(["a", "a"])
    add(cache, "b", 100)
    assert names(cache.folder) == {"b"}


def test_a_new_process_uses_what_is_there_as_far_as_it_may(tmp_path: Path, cache: FileCache) -> None:
    for number, key in enumerate(("old", "t/new")):
        add(cache, key, 50)
        os.utime(cache.path(key), (number, number))
    again = FileCache(tmp_path / "cache", 60)
    assert names(again.folder) == {"t/new"}
    assert again.use("t/new", 50)
