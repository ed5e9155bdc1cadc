"""The traces over HTTP: the operations of old, versions, and the mistakes that callers make."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from tests.services.pathwayd.pathwayd_kit import Opener, Pathwayd
from tools.kit.matrices import spread


@pytest.fixture
async def pathwayd(open_pathwayd: Opener) -> AsyncIterator[Pathwayd]:
    async with open_pathwayd() as running:
        yield running


async def test_the_eleven_gates(open_pathwayd: Opener) -> None:
    async with open_pathwayd() as first:
        added = await first.post("add", {"content": {"tried": "a"}, "tags": ["x"]})
        uid = added["uid"]
        assert await first.get(f"get/{uid}") == added
        assert (added["retired"], added["replay_count"]) == (False, 0)
        assert "predecessor_uid" not in added
        replayed = [await first.post("add_idempotent", {"uid": "mine", "content": n}) for n in range(3)]
        assert [(trace["content"], trace["replay_count"]) for trace in replayed] == [(0, 0), (0, 1), (0, 2)]
        updated = await first.post("update", {"uid": uid, "content": {"tried": "b"}})
        assert (updated["content"], updated["tags"]) == ({"tried": "b"}, ["x"])
        assert updated["updated_at_ns"] > updated["created_at_ns"] == added["created_at_ns"]
        second = await first.post("revise", {"predecessor_uid": uid, "content": "c"})
        third = await first.post("revise", {"uid": second["uid"], "content": "d"})
        chain = (await first.get(f"history/{third['uid']}"))["history"]
        assert [trace["uid"] for trace in chain] == [third["uid"], second["uid"], uid]
        assert (await first.post("retire", {"uid": second["uid"]})) == {"retired": [second["uid"]]}
        await _check_kept(first, uid, second["uid"], third["uid"])
    async with open_pathwayd() as again:
        await _check_kept(again, uid, second["uid"], third["uid"])


async def _check_kept(pathwayd: Pathwayd, uid: str, retired: str, newest: str) -> None:
    listed = (await pathwayd.post("search", {}))["traces"]
    assert [trace["uid"] for trace in listed] == [newest, "mine", uid]
    assert (await pathwayd.get(f"get/{retired}"))["retired"] is True
    assert len((await pathwayd.get(f"history/{newest}"))["history"]) == 3
    assert await pathwayd.get("stats") == {"total": 4, "active": 3, "retired": 1}
    assert (await pathwayd.get("get/mine"))["replay_count"] == 2


@pytest.mark.parametrize(
    ("name", "body", "status", "says"),
    spread(
        [
            ("add", {}, 400, "content"),
            ("add", {"content": 1, "tags": [""]}, 400, "tags[0]"),
            ("add", {"content": 1, "uid": " x"}, 400, "`uid`"),
            ("add", {"content": 1, "predecessor_uid": "none"}, 404, "'none'"),
            ("add", {"content": 1, "sources": [{}]}, 400, "sources[0]"),
            ("add", {"content": 1, "sources": [{"object": "a", "trace": "b"}]}, 400, "sources[0]"),
            ("add", {"content": 1, "sources": [{"object": "a", "row": 1}]}, 400, "sources[0]"),
            ("add", {"content": 1, "sources": [{"object": "none"}]}, 404, "sources[0].object"),
            ("add", {"content": 1, "sources": [{"trace": "none"}]}, 404, "sources[0].trace"),
            ("add_idempotent", {"content": 1}, 400, "uid"),
            ("update", {"content": 1}, 400, "uid"),
            ("update", {"uid": "none", "content": 1}, 404, "'none'"),
            ("update", {"uid": "none"}, 400, "content"),
            ("revise", {"content": 1}, 400, "predecessor_uid"),
            ("revise", {"content": 1, "predecessor_uid": "none"}, 404, "'none'"),
            ("retire", {}, 400, "uid"),
            ("retire", {"uid": "none"}, 404, "'none'"),
            ("retire", {"uid": "a", "source": {"object": "b"}}, 400, "uid"),
            ("retire", {"source": {"trace": "b"}}, 400, "by its `uid`"),
            ("search", {"limit": 0}, 400, "limit"),
            ("search", {"after": "none"}, 404, "'none'"),
            ("search", {"created_from": "yesterday"}, 400, "created_from"),
            ("search", {"text": "a", "after": "b"}, 400, "after"),
        ],
        3,
    ),
)
async def test_mistakes_say_what_is_wrong(pathwayd: Pathwayd, name: str, body: object, status: int, says: str) -> None:
    error = (await pathwayd.post(name, body, status))["error"]
    assert says in error["message"]
    assert await pathwayd.get("stats") == {"total": 0, "active": 0, "retired": 0}


async def test_content_is_returned_as_it_was_given(pathwayd: Pathwayd) -> None:
    body = b'{"content": {"n": 12345678901234567890.50, "t": "\\u00e9", "a": [1.0, 1]}}'
    answer = await pathwayd.http.post("/pathway/add", content=body)
    assert b'"content":{"n": 12345678901234567890.50, "t": "\\u00e9", "a": [1.0, 1]}' in answer.content
    assert (await pathwayd.http.post("/pathway/add", content=b'{"content": nul}')).status_code == 400
    assert (await pathwayd.post("add", {"content": None}))["content"] is None


async def test_an_id_that_is_taken_is_a_conflict(pathwayd: Pathwayd) -> None:
    await pathwayd.add("one", uid="a/b")
    assert (await pathwayd.post("add", {"content": "two", "uid": "a/b"}, 409))["error"]["code"] == "ErrConflict"
    assert (await pathwayd.get("get/a%2Fb"))["content"] == "one"
    assert (await pathwayd.get("get/a/b"))["content"] == "one"
    await pathwayd.get("get/none", 404)
    await pathwayd.get("history/none", 404)


async def test_concurrent_changes_are_all_there(pathwayd: Pathwayd) -> None:
    async def work(number: int) -> None:
        await pathwayd.add(number, uid=f"t{number}")
        await pathwayd.post("add_idempotent", {"uid": "shared", "content": number})

    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(work, number)
    assert (await pathwayd.get("stats"))["total"] == 41
    assert (await pathwayd.get("get/shared"))["replay_count"] == 39


async def test_search_by_tags_time_and_state(pathwayd: Pathwayd) -> None:
    await pathwayd.add(1, uid="one", tags=["a", "b"])
    await pathwayd.add(2, uid="two", tags=["b"])
    await pathwayd.add(3, uid="three", tags=["a", "b", "a"])
    await pathwayd.post("retire", {"uid": "two"})
    middle = (await pathwayd.get("get/two"))["created_at_ns"]

    async def search(**fields: object) -> list[str]:
        return [trace["uid"] for trace in (await pathwayd.post("search", fields))["traces"]]

    assert await search() == ["three", "one"]
    assert await search(tag="a") == ["three", "one"]
    assert await search(tags=["b", "a"]) == ["three", "one"]
    assert await search(tag="b", include_retired=True) == ["three", "two", "one"]
    assert await search(state="retired") == ["two"]
    assert await search(tag="none") == []
    assert await search(created_from=middle, state="all") == ["three", "two"]
    assert await search(created_before=middle, state="all") == ["one"]
    assert await search(created_from="2001-01-01T00:00:00Z", limit=1) == ["three"]
    assert await search(created_from=10**30) == []
    assert await search(created_before=10**30, limit=1) == ["three"]
    assert await search(created_before="2001-01-01T00:00:00+01:00") == []
    assert await search(limit=1, after="three") == ["one"]
    assert await search(tag="a", limit=1, after="three") == ["one"]
    await pathwayd.post("update", {"uid": "one", "content": 1, "tags": ["c", "b"]})
    assert [await search(tag=tag) for tag in "abc"] == [["three"], ["three", "one"], ["one"]]
