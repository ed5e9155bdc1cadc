"""The export that a person reads and edits, and its import."""

from __future__ import annotations

import pytest

from tests.services.pathwayd.pathwayd_kit import Opener, Pathwayd

CONTENTS: list[object] = [
    {"tried": "a", "n": [1, 2.5, None, True]},
    "a text\nwith ``` fences\n````\nand `ticks`",
    "",
    0,
    None,
    [],
]


async def _fill(pathwayd: Pathwayd) -> None:
    for number, content in enumerate(CONTENTS):
        tags = ["plain tag", 'quoted, "tag"', "tick`"] if number == 0 else []
        rows = [{"table": "sales", "snapshot": "7", "row": row} for row in ("a", {"id": 7, "shop": 'a "} b'})]
        sources = [{"request": 'r "1"'}, {"trace": "t0"}, *rows] if number == 1 else []
        await pathwayd.add(content, uid=f"t{number}", tags=tags, sources=sources)
    await pathwayd.post("revise", {"uid": "t0", "content": {"tried": "b"}})
    await pathwayd.post("retire", {"uid": "t2", "reason": "(it) was wrong"})
    assert (await pathwayd.http.put("/storage/objects/gone", content=b"x")).status_code == 201
    await pathwayd.add("ended", uid="t6", sources=[{"object": "gone"}])
    await pathwayd.add("ended, too", uid="t7", sources=[{"trace": "t6"}])
    assert (await pathwayd.http.delete("/storage/objects/gone")).json()["retired"] == ["t6", "t7"]


async def test_an_export_is_imported_into_another_lake(open_pathwayd: Opener) -> None:
    async with open_pathwayd("a") as pathwayd:
        await _fill(pathwayd)
        exported = await pathwayd.http.get("/pathway/export")
        before = (await pathwayd.post("search", {"state": "all"}))["traces"]
    assert exported.headers["content-type"].startswith("text/markdown")
    async with open_pathwayd("b") as other:
        receipt = (await other.http.post("/pathway/import", content=exported.content)).json()
        assert (len(receipt["added"]), receipt["updated"], receipt["retired"]) == (9, [], ["t2", "t6", "t7"])
        after = (await other.post("search", {"state": "all"}))["traces"]
        times = {"created_at_ns", "updated_at_ns", "retirement"}
        assert [_without(trace, times) for trace in after] == [_without(trace, times) for trace in before]
        assert (await other.get("get/t2"))["retirement"]["reason"] == "(it) was wrong"
        again = (await other.http.post("/pathway/import", content=exported.content)).json()
        assert again == {"added": [], "updated": [], "retired": [], "unchanged": 9}


async def test_what_a_person_changes_is_taken_over(open_pathwayd: Opener) -> None:
    async with open_pathwayd() as pathwayd:
        await pathwayd.add({"tried": "a", "ok": 1}, uid="one", tags=["x"])
        await pathwayd.add("old", uid="two")
        text = (await pathwayd.http.get("/pathway/export")).text
        text = text.replace('"ok": 1', '"ok": true').replace("tags: x", "tags: x, y").replace("\r", "")
        text = (
            text.replace("## two\n", "## two\n- retired: (no longer true)\n")
            + "\n## three\nA note.\n```text\nnew\n```\n"
        )
        receipt = (await pathwayd.http.post("/pathway/import", content=text)).json()
        assert receipt == {"added": ["three"], "updated": ["one"], "retired": ["two"], "unchanged": 0}
        one = await pathwayd.get("get/one")
        assert (one["content"], one["tags"]) == ({"tried": "a", "ok": True}, ["x", "y"])
        assert (await pathwayd.get("get/three"))["content"] == "new"


@pytest.mark.parametrize("content", [b'{"n": 1e999}', b'["\xff"]'])
async def test_a_stored_content_that_cannot_be_decoded_is_exported_and_can_be_replaced(
    open_pathwayd: Opener, content: bytes
) -> None:
    async with open_pathwayd() as pathwayd:
        await pathwayd.traces.store.add(content, uid="former")
        await pathwayd.add("kept", uid="two")
        text = (await pathwayd.http.get("/pathway/export")).text
        shown = content.decode(errors="replace")
        assert f"```json\n{shown}\n```" in text
        assert text.endswith("```text\nkept\n```\n")
        receipt = await pathwayd.http.post("/pathway/import", content=text.replace(shown, '"mended"'))
        assert receipt.json() == {"added": [], "updated": ["former"], "retired": [], "unchanged": 1}


@pytest.mark.parametrize(
    ("document", "status", "says"),
    [
        ("## a\nno content", 400, "line 1"),
        ('## a\n- source: object "none"\n```text\n\n```', 404, "'none'"),
        ("## a\n```json\n{", 400, "line 2"),
        ("## a\n```json\n{\n```", 400, "line 2"),
        ("## a\n- source: nothing\n```text\n\n```", 400, "line 2"),
        ("## a\n- predecessor: b\n```text\n\n```", 400, "line 2"),
        ("## a\n```text\n\n```\n## a\n```text\n\n```", 409, "line 5"),
        ('## new\n```text\n\n```\n## a\n- predecessor: "none"\n```text\n\n```', 404, "none"),
        ('## new\n```text\n\n```\n## a\n- predecessor: "a"\n```text\n\n```', 404, "'a'"),
        ('## a\n- predecessor: "b"\n```text\n\n```\n## b\n- predecessor: "a"\n```text\n\n```', 404, "'b'"),
        (b"## \xff", 400, "UTF-8"),
    ],
)
async def test_a_document_with_a_mistake_changes_nothing(
    open_pathwayd: Opener, document: str | bytes, status: int, says: str
) -> None:
    async with open_pathwayd() as pathwayd:
        answer = await pathwayd.http.post("/pathway/import", content=document)
        assert (answer.status_code, says in answer.json()["error"]["message"]) == (status, True), answer.text
        assert (await pathwayd.get("stats"))["total"] == 0


def _without(trace: dict[str, object], names: set[str]) -> dict[str, object]:
    return {name: value for name, value in trace.items() if name not in names}
