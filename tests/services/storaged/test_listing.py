"""Listings: pages against a plain computation, cursors, groups, and the files of tables among the objects."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.storaged.files.dataset_files import SortedRows
from lakehouse.services.storaged.index.entries import Row
from lakehouse.services.storaged.index.listing import decode_cursor, encode_cursor, list_page
from lakehouse.services.storaged.object_writes import ObjectWrites
from tools.kit.storaged_server import Storaged


def row(key: str) -> Row:
    return Row(key.encode(), 1, '"e"', 0, "text/plain")


def expected(keys: list[str], prefix: str, delimiter: str) -> list[tuple[str, str]]:
    """Objects and groups in the order of keys, computed over all keys."""
    found: dict[tuple[str, str], None] = {}
    for key in sorted(keys, key=str.encode):
        if key.startswith(prefix):
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            found["object" if end < 0 else "group", key if end < 0 else key[: end + len(delimiter)]] = None
    return list(found)


keys_strategy = st.lists(st.text("ab/ä", min_size=1, max_size=6), max_size=30, unique=True)


@given(keys_strategy, st.text("ab/ä", max_size=3), st.sampled_from(["", "/", "a", "b/", "ä"]), st.integers(1, 5))
def test_pages_are_all_keys_once_and_in_order(keys: list[str], prefix: str, delimiter: str, limit: int) -> None:
    rows = SortedRows(sorted(row(key) for key in keys))
    seen: list[tuple[str, str]] = []
    start = b""
    for _ in range(len(keys) + 1):
        page = list_page(rows.read, prefix=prefix.encode(), delimiter=delimiter.encode(), limit=limit, start=start)
        part = [("object", one.key) for one in page.objects] + [("group", group) for group in page.prefixes]
        part.sort(key=lambda item: item[1])
        seen += [(kind, key.decode()) for kind, key in part]
        start = decode_cursor(encode_cursor(page.next_start))
        if not start:
            break
        assert len(part) == limit
    assert seen == expected(keys, prefix, delimiter)
    assert not start


@pytest.mark.parametrize("cursor", ["!", "a", "====", "Li4v\n", "A" * 1500, "é"])
def test_a_cursor_that_no_list_has_given(cursor: str) -> None:
    with pytest.raises(ErrBadRequest):
        decode_cursor(cursor)


def test_a_group_is_passed_over_without_reading_all_of_it() -> None:
    rows = SortedRows([row(f"a/{number:06}") for number in range(50_000)] + [row("b")])
    read: list[int] = []

    def counted(start: bytes, stop: bytes, count: int) -> list[Row]:
        found = rows.read(start, stop, count)
        read.append(len(found))
        return found

    page = list_page(counted, prefix=b"", delimiter=b"/", limit=10)
    assert ([one.key for one in page.objects], page.prefixes, page.next_start) == ([b"b"], [b"a/"], b"")
    assert sum(read) < 50


async def keys_of(http: httpx.AsyncClient, **params: str) -> tuple[list[str], list[str], str | None]:
    answer = await http.get("/storage/list", params=params)
    assert answer.status_code == 200, answer.text
    page = answer.json()
    assert page["truncated"] is (page["next_cursor"] is not None)
    return [item["key"] for item in page["objects"]], page["prefixes"], page["next_cursor"]


async def one(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_a_listing_over_http(storaged: Storaged) -> None:
    http = storaged.http
    for key in ("b", "a/2", "a/1", "c/d/e", "z", "é", "_vectors/i"):
        await storaged.store.write(key, one(b"1"))
    for name in ("t/data/2.parquet", "t/data/1.parquet", "t/u/data/3.parquet", "t/metadata/v1.json"):
        await storaged.add_table_file(f"datasets/{name}", b"12")
    files = ["datasets/t/data/1.parquet", "datasets/t/data/2.parquet", "datasets/t/u/data/3.parquet"]
    everything = ["_vectors/i", "a/1", "a/2", "b", "c/d/e", *files, "z", "é"]
    assert await keys_of(http) == (everything, [], None)
    assert await keys_of(http, delimiter="/") == (["b", "z", "é"], ["_vectors/", "a/", "c/", "datasets/"], None)
    assert await keys_of(http, prefix="datasets/t/", delimiter="/") == (
        [],
        ["datasets/t/data/", "datasets/t/u/"],
        None,
    )
    assert await keys_of(http, prefix="datasets/t/data/1") == (files[:1], [], None)
    assert await keys_of(http, prefix="a/") == (["a/1", "a/2"], [], None)
    assert await keys_of(http, prefix="c/", delimiter="e") == ([], ["c/d/e"], None)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        part, _, cursor = await keys_of(http, limit="3", cursor=cursor)
        assert len(part) <= 3
        seen += part
    assert seen == everything


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("limit=1.5", "limit"),
        ("cursor=%21", "cursor"),
        ("prefix=a&prefix=b", "twice"),
        ("max=1", "max"),
        ("delimiter=" + "a" * 1025, "delimiter"),
        ("prefix=%ff", "UTF-8"),
    ],
)
async def test_a_query_that_is_not_understood(storaged: Storaged, query: str, field: str) -> None:
    answer = await storaged.http.get(f"/storage/list?{query}")
    assert (answer.status_code, field in answer.json()["error"]["message"]) == (400, True)


async def test_at_most_ten_thousand_and_a_marker(storaged: Storaged) -> None:
    if storaged.bucket is not None:
        pytest.skip("ten thousand objects take too long to store")
    assert isinstance(storaged.store.writes, ObjectWrites)
    index = storaged.store.writes._index
    index._db.execute("BEGIN")
    index._db.executemany(
        "INSERT INTO objects VALUES (?, 1, 'e', 0, 't', NULL, NULL)", [(b"%06d" % n,) for n in range(10_005)]
    )
    index._db.execute("COMMIT")
    for query in ("", "?limit=99999999999999999999", "?limit=10000"):
        page = (await storaged.http.get(f"/storage/list{query}")).json()
        assert (len(page["objects"]), page["truncated"]) == (10_000, True)
    keys, _, cursor = await keys_of(storaged.http, cursor=page["next_cursor"])
    assert (len(keys), keys[0], cursor) == (5, "010000", None)
