"""Search by words and meaning, over the real engine: it follows the store, over restarts and deaths."""

from __future__ import annotations

from pathlib import Path

from lakehouse.services.pathwayd.meaning import INDEX
from tests.services.pathwayd.pathwayd_kit import Pathwayd, open_pathwayd


async def _search(pathwayd: Pathwayd, text: str, **fields: object) -> list[str]:
    answer = await pathwayd.post("search", {"text": text, **fields})
    assert answer["lag"] == 0
    return [trace["uid"] for trace in answer["traces"]]


async def test_traces_are_found_by_what_they_say(tmp_path: Path) -> None:
    async with open_pathwayd(tmp_path) as pathwayd:
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
    async with open_pathwayd(tmp_path) as again:
        await again.add("a second database with replicas", uid="replica")
        assert set((await _search(again, "database"))[:2]) == {"db", "replica"}


async def test_an_index_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    async with open_pathwayd(tmp_path) as pathwayd:
        await pathwayd.add("restart the database", uid="db")
        assert await _search(pathwayd, "database") == ["db"]
        await pathwayd.engine.delete_index(INDEX)
        await pathwayd.add("bake bread", uid="bread")
        assert set(await _search(pathwayd, "database bread")) == {"db", "bread"}
