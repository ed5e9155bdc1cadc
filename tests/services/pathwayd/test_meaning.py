"""Search by words and meaning, over the real engine: it follows the store, over restarts and deaths."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lakehouse.services.pathwayd import meaning
from lakehouse.services.pathwayd.meaning import INDEX
from tests.services.pathwayd.pathwayd_kit import Opener, Pathwayd


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search waits for the index as long as a busy machine takes."""
    monkeypatch.setattr(meaning, "FOLLOW_TIMEOUT", 60.0)


async def _search(pathwayd: Pathwayd, text: str, **fields: object) -> list[str]:
    answer = await pathwayd.post("search", {"text": text, **fields})
    assert answer["lag"] == 0
    return [trace["uid"] for trace in answer["traces"]]


async def test_traces_are_found_by_what_they_say(open_pathwayd: Opener) -> None:
    async with open_pathwayd() as pathwayd:
        assert await _search(pathwayd, "anything") == []
        await pathwayd.add({"tried": "restart the database server", "worked": True}, uid="db", tags=["ops"])
        await pathwayd.add({"tried": "bake bread with sourdough"}, uid="bread", tags=["food"])
        await pathwayd.add(["clear the browser's cache"], uid="cache", tags=["ops", "web"])
        assert (await _search(pathwayd, "sourdough bread"))[0] == "bread"
        assert (await _search(pathwayd, "database server"))[0] == "db"
        assert "bread" not in await _search(pathwayd, "sourdough bread", tag="ops")
        await pathwayd.post("update", {"uid": "bread", "content": "grow tomatoes in a greenhouse"})
        assert (await _search(pathwayd, "tomatoes greenhouse"))[0] == "bread"
        await pathwayd.post("retire", {"uid": "bread"})
        assert "bread" not in await _search(pathwayd, "tomatoes greenhouse")
        assert (await _search(pathwayd, "tomatoes greenhouse", state="retired")) == ["bread"]
        assert (await pathwayd.engine.get_index(INDEX)).length == 3
    async with open_pathwayd() as again:
        await again.add("a second database with replicas", uid="replica")
        assert set((await _search(again, "database"))[:2]) == {"db", "replica"}


async def test_an_index_that_was_deleted_is_made_again(open_pathwayd: Opener) -> None:
    async with open_pathwayd() as pathwayd:
        await pathwayd.add("restart the database", uid="db")
        assert await _search(pathwayd, "database") == ["db"]
        await pathwayd.engine.delete_index(INDEX)
        await pathwayd.add("bake bread", uid="bread")
        assert set(await _search(pathwayd, "database bread")) == {"db", "bread"}


async def test_a_search_waits_for_no_more_than_it_needs(open_pathwayd: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meaning, "GATHER_TIME", 3_600.0)  # seconds, as is the next one
    monkeypatch.setattr(meaning, "FOLLOW_TIMEOUT", 3_600.0)
    with trio.fail_after(60):
        async with open_pathwayd() as pathwayd:
            for number in range(20):
                await pathwayd.add(f"restart the database number {number}")
            assert len(await _search(pathwayd, "database", limit=50)) == 20
            version = (await pathwayd.engine.get_index(INDEX)).version
            for number in range(20):
                await pathwayd.add(f"bake bread number {number}")
            assert (await pathwayd.engine.get_index(INDEX)).version == version
            assert len(await _search(pathwayd, "database bread", limit=50)) == 40
            assert (await pathwayd.engine.get_index(INDEX)).version == version + 1
        async with open_pathwayd() as again:  # where the index lacks nothing
            assert len(await _search(again, "database bread", limit=50)) == 40


@pytest.mark.parametrize("content", [b"1e999", b'{"n": [' + b"9" * 5_000 + b"]}", b'"\xff"'])
async def test_a_content_that_cannot_be_decoded_is_refused(open_pathwayd: Opener, content: bytes) -> None:
    async with open_pathwayd() as pathwayd:
        body = b'{"uid": "db", "content": ' + content + b"}"
        for route in ("add", "add_idempotent", "update", "revise"):
            answer = await pathwayd.http.post(f"/pathway/{route}", content=body)
            assert answer.status_code == 400, answer.text
            assert answer.json()["error"]["message"].startswith("`content`: ")
        assert (await pathwayd.get("stats"))["total"] == 0


async def test_a_stored_content_that_cannot_be_decoded_does_not_end_the_service(open_pathwayd: Opener) -> None:
    async with open_pathwayd() as pathwayd:
        await pathwayd.traces.store.add(b"1e999", uid="former", tags=["deploy"])
        await pathwayd.add("restart the database", uid="db")
        assert (await _search(pathwayd, "database"))[0] == "db"
        assert (await _search(pathwayd, "deploy"))[0] == "former"


async def test_the_state_of_another_source_makes_the_index_read_all_traces_again(open_pathwayd: Opener) -> None:
    async with open_pathwayd() as pathwayd:
        await pathwayd.add("restart the database", uid="db")
        assert await _search(pathwayd, "database") == ["db"]
        await pathwayd.engine.add(INDEX, [], source_state=b'{"table": "t", "key": "id", "text": ["x"]}')
    async with open_pathwayd() as again:
        await again.add("a second database", uid="second")
        assert set(await _search(again, "database")) == {"db", "second"}


async def test_the_index_rests_while_nothing_changes(open_pathwayd: Opener) -> None:
    async with open_pathwayd() as pathwayd:
        with trio.fail_after(30):
            await wait_all_tasks_blocked(0.05)  # without a trace
            await pathwayd.add("restart the database", uid="db")
            assert await _search(pathwayd, "database") == ["db"]
            await wait_all_tasks_blocked(0.05)
