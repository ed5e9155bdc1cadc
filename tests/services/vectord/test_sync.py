"""An index kept to a table: rows that are new, changed or gone, many transactions, refusals, a client that leaves."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import trio

from lakehouse.services.vectord import row_writer, sync
from tests.services.memory_engine import EMBEDDED
from tests.services.vectord.vectord_kit import Vectord, open_vectord
from tools.kit.matrices import spread

FIRST = """
    SELECT * FROM (VALUES (1, 'red apples', 'fruit', 3), (2, 'green pears', 'fruit', 5), (3, 'raw steel', 'metal', 7),
    (10, NULL, 'none', 1), (11, '  ', 'none', 1)) AS things(id, text, kind, price)
"""
SECOND = """
    SELECT * FROM (VALUES (1, 'red apples', 'fruit', 3), (2, 'ripe pears', 'fruit', 5), (4, 'wet sand', 'stone', 9),
    (10, 'now with a text', 'none', 1)) AS things(id, text, kind, price)
"""
SYNC = {"table": "shop/things", "key": "id", "text": "text", "metadata": ["kind", "price"]}


async def _create(vectord: Vectord, model: str = EMBEDDED) -> None:
    await vectord.post("", {"name": "i", "model": model}, 201)


@pytest.mark.parametrize("model", [EMBEDDED, "ollama/other"])
async def test_only_new_and_changed_rows_are_written_and_vanished_ones_deleted(tmp_path: Path, model: str) -> None:
    async with open_vectord(tmp_path) as vectord:
        first = vectord.tables.write("shop/things", FIRST)
        await _create(vectord, model)
        done = await vectord.post("/i/sync", SYNC)
        assert done == {
            "added": 3, "replaced": 0, "deleted": 0, "length": 3, "version": 1,
            "from_snapshot": None, "to_snapshot": first.snapshot_id,
        }  # fmt: skip
        items = vectord.engine.indexes["i"].items
        assert (items["2"].text, items["2"].metadata) == ("green pears", b'{"kind":"fruit","price":5}')

        assert (await vectord.post("/i/sync", {}))["added"] == 0  # the index remembers its table
        assert vectord.engine.writes[1:] == [([], [])]

        await vectord.post("/i/add", {"items": [{"id": "mine", "text": "not a row"}]})
        second = vectord.tables.write("shop/things", SECOND)
        info = (await vectord.client.get("/vectors/index/i")).json()
        assert info["source"] == {
            **SYNC, "text": ["text"], "snapshot_id": first.snapshot_id, "complete": True, "behind": 1,
        }  # fmt: skip
        vectord.embedder.calls.clear()
        done = await vectord.post("/i/sync", {})
        assert (done["added"], done["replaced"], done["deleted"], done["length"]) == (2, 1, 1, 5)
        assert (done["from_snapshot"], done["to_snapshot"]) == (first.snapshot_id, second.snapshot_id)
        assert vectord.engine.writes[-1] == (["10", "2", "4"], ["3"])
        asked = [text for call in vectord.embedder.calls for text in call]
        assert asked == ([] if model == EMBEDDED else ["now with a text", "ripe pears", "wet sand"])
        assert sorted(items) == ["1", "10", "2", "4", "mine"]
        assert (await vectord.client.get("/vectors/index/i")).json()["source"]["behind"] == 0


async def test_other_columns_rewrite_the_rows_and_another_table_replaces_them(tmp_path: Path) -> None:
    async with open_vectord(tmp_path) as vectord:
        vectord.tables.write("shop/things", FIRST)
        vectord.tables.write("other", "SELECT 'k' || i AS k, 'row ' || i AS a, 'more' AS b FROM range(2) r(i)")
        await _create(vectord)
        await vectord.post("/i/sync", SYNC)
        done = await vectord.post("/i/sync", {"metadata": []})
        assert (done["added"], done["replaced"], done["deleted"]) == (0, 3, 0)
        assert vectord.engine.indexes["i"].items["1"].metadata == b"{}"
        done = await vectord.post("/i/sync", {"table": "other", "key": "k", "text": ["a", "b"]})
        assert (done["added"], done["deleted"], done["length"], done["from_snapshot"]) == (2, 3, 2, None)
        assert vectord.engine.indexes["i"].items["k1"].text == "row 1\n\nmore"


@pytest.mark.parametrize("model", spread([EMBEDDED, "ollama/other"], 2))
async def test_a_large_sync_has_several_transactions_and_says_so_until_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.setattr(row_writer, "MAX_ROWS", 1500)
    monkeypatch.setattr(row_writer, "PART_ROWS", 1000)  # no multiple of the texts that are embedded at once
    monkeypatch.setattr(sync, "PAGE", 700)
    async with open_vectord(tmp_path) as vectord:
        rows = "SELECT i AS id, 'text of row ' || i AS text FROM range({}, {}) r(i)"
        vectord.tables.write("t", rows.format(0, 1300), rows.format(1300, 2500))
        await _create(vectord, model)
        vectord.engine.fail_after = 2
        how = {"table": "t", "key": "id", "text": "text"}
        assert (await vectord.error("/i/sync", how))[0] == 422
        source = (await vectord.client.get("/vectors/index/i")).json()["source"]
        assert (source["snapshot_id"], source["complete"], source["behind"]) == (None, False, None)
        assert len(vectord.engine.indexes["i"].items) == 2 * 768

        vectord.engine.fail_after = None
        done = await vectord.post("/i/sync", {})
        assert (done["added"], done["length"]) == (2500 - 2 * 768, 2500)  # what was written is not written again
        assert (await vectord.client.get("/vectors/index/i")).json()["source"]["complete"] is True

        vectord.tables.write("t", rows.format(0, 100))
        vectord.engine.writes.clear()
        done = await vectord.post("/i/sync", {})
        assert (done["added"], done["deleted"], done["length"]) == (0, 2400, 100)
        assert [len(deleted) for _, deleted in vectord.engine.writes] == [1000, 1000, 400]


REFUSED = {
    "an unknown table": ({**SYNC, "table": "none"}, 404, "none"),
    "an unknown key": ({**SYNC, "key": "nr"}, 400, "`key`"),
    "an unknown text": ({**SYNC, "text": ["text", "title"]}, 400, "`text`"),
    "unknown metadata": ({**SYNC, "metadata": ["colour"]}, 400, "`metadata`"),
    "no table": ({"key": "id", "text": "text"}, 400, "`table`"),
    "no key": ({"table": "shop/things", "text": "text"}, 400, "`key`"),
    "no text": ({"table": "shop/things", "key": "id", "text": []}, 400, "`text`"),
    "a repeated key": ({**SYNC, "key": "kind"}, 422, "'fruit' in 2"),
    "a key that is NULL": ({**SYNC, "key": "text"}, 422, "NULL in 1"),
    "another field": ({**SYNC, "where": "x"}, 400, "`where`"),
}


async def test_what_cannot_be_a_source_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async with open_vectord(tmp_path) as vectord:
        vectord.tables.write("shop/things", FIRST)
        await _create(vectord)
        for name, (request, status, words) in REFUSED.items():
            found, message, _ = await vectord.error("/i/sync", request)
            assert (name, found, words in str(message)) == (name, status, True), message
        assert (await vectord.error("/none/sync", SYNC))[0] == 404
        await vectord.post("", {"name": "numbers", "dimension": 2}, 201)
        assert "no embedding model" in str((await vectord.error("/numbers/sync", SYNC))[1])
        assert vectord.engine.writes == []
        assert (await vectord.client.get("/vectors/index/i")).json()["source"] is None


async def test_a_client_that_leaves_ends_the_sync_and_the_index_is_as_before(tmp_path: Path) -> None:
    async with open_vectord(tmp_path) as vectord:
        vectord.tables.write("shop/things", FIRST)
        await _create(vectord, "ollama/other")
        vectord.embedder.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(vectord.post, "/i/sync", SYNC)
            with trio.fail_after(10):
                while len(vectord.embedder.calls) < 2:  # the first one was the probe for the dimension
                    await trio.sleep(0.01)
            assert [request.phase for request in vectord.active] == ["embedding"]
            nursery.cancel_scope.cancel()
        with trio.fail_after(20):
            while list(vectord.active):
                await trio.sleep(0.005)
        assert (vectord.engine.writes, vectord.engine.left) == ([], 1)
        vectord.embedder.gate.set()
        assert (await vectord.post("/i/sync", SYNC))["added"] == 3
        assert [path for path in (tmp_path / "spill").iterdir() if path.is_file()] == []


async def test_syncs_of_one_index_follow_one_another(tmp_path: Path) -> None:
    async with open_vectord(tmp_path) as vectord:
        vectord.tables.write("shop/things", FIRST)
        await _create(vectord)
        added: list[int] = []

        async def run() -> None:
            added.append((await vectord.post("/i/sync", SYNC))["added"])

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(run)
        assert sorted(added) == [0, 0, 0, 3]


async def test_the_body_of_a_later_sync_may_be_empty(tmp_path: Path) -> None:
    async with open_vectord(tmp_path) as vectord:
        vectord.tables.write("shop/things", FIRST)
        await _create(vectord)
        await vectord.post("/i/sync", SYNC)
        answer: httpx.Response = await vectord.client.post("/v1/vectors/index/i/sync")
        assert (answer.status_code, answer.json()["length"]) == (200, 3)
