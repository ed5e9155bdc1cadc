"""A trace ends with its evidence: what was derived from a source is retired with it, and the answer lists it."""

from __future__ import annotations

from tests.services.pathwayd.pathwayd_kit import Opener, Pathwayd


async def test_retiring_a_trace_retires_what_was_derived_from_it(open_pathwayd: Opener) -> None:
    async with open_pathwayd() as pathwayd:
        await pathwayd.add("root", uid="root")
        await pathwayd.add("child", uid="child", sources=[{"trace": "root"}])
        await pathwayd.add("both", uid="both", sources=[{"trace": "child"}, {"trace": "root"}, {"request": "r"}])
        await pathwayd.add("leaf", uid="leaf", sources=[{"trace": "both"}])
        await pathwayd.add("other", uid="other", sources=[{"request": "r"}])
        await pathwayd.post("revise", {"uid": "root", "content": "a version is not derived"})
        receipt = await pathwayd.post("retire", {"uid": "root", "reason": "it was wrong"})
        assert receipt == {"retired": ["root", "child", "both", "leaf"]}
        assert await pathwayd.get("stats") == {"total": 6, "active": 2, "retired": 4}
        why = (await pathwayd.get("history/leaf"))["history"][0]["retirement"]
        assert (why["reason"], why["source"]) == ("it was wrong", {"trace": "both"})
        assert (await pathwayd.get("get/both"))["retirement"]["source"] == {"trace": "root"}
        assert await pathwayd.post("retire", {"uid": "root"}) == {"retired": []}
        error = (await pathwayd.post("add", {"content": 1, "sources": [{"trace": "leaf"}]}, 409))["error"]
        assert error["message"].startswith("`sources[0].trace`")
        assert await pathwayd.post("retire", {"source": {"request": "r"}}) == {"retired": ["other"]}


async def test_deleting_an_object_retires_what_was_derived_from_it(open_pathwayd: Opener) -> None:
    async with open_pathwayd() as pathwayd:
        await _put(pathwayd, "runs/1.log")
        await _put(pathwayd, "runs/2.log")
        await pathwayd.add("a", uid="a", sources=[{"object": "runs/1.log"}])
        await pathwayd.add("b", uid="b", sources=[{"trace": "a"}])
        await pathwayd.add("c", uid="c", sources=[{"object": "runs/2.log"}])
        deleted = await pathwayd.http.delete("/storage/objects/runs/1.log")
        assert (deleted.status_code, deleted.json()) == (200, {"key": "runs/1.log", "retired": ["a", "b"]})
        why = (await pathwayd.get("get/a"))["retirement"]
        assert (why["reason"], why["source"]) == ("the object was deleted", {"object": "runs/1.log"})
        assert (await pathwayd.get("get/c"))["retired"] is False
        await _put(pathwayd, "runs/3.log")
        assert (await pathwayd.http.delete("/storage/objects/runs/3.log")).status_code == 204


async def test_a_source_that_ended_in_a_crash_is_found_at_the_start(open_pathwayd: Opener) -> None:
    async with open_pathwayd() as pathwayd:
        await _put(pathwayd, "x")
        await pathwayd.add("a", uid="a", sources=[{"object": "x"}])
        await pathwayd.add("b", uid="b", sources=[{"trace": "a"}])
        pathwayd.traces.store.retire_derived = _forget  # type: ignore[method-assign] # as if the process ended here
        assert (await pathwayd.http.delete("/storage/objects/x")).status_code == 204
    async with open_pathwayd() as again:
        with_retired = await again.post("search", {"state": "retired"})
        while len(with_retired["traces"]) < 2:  # the check runs beside the first requests
            with_retired = await again.post("search", {"state": "retired"})
        assert [trace["uid"] for trace in with_retired["traces"]] == ["b", "a"]


async def test_a_table_that_is_renamed_stays_a_source(open_pathwayd: Opener) -> None:
    async with open_pathwayd() as pathwayd:
        await pathwayd.add("a", uid="a", sources=[{"table": "t", "snapshot": 12, "row": "k"}])
        await pathwayd.traces.rename_table("t", "u")
        assert (await pathwayd.get("get/a"))["sources"] == [{"table": "u", "snapshot": 12, "row": "k"}]
        assert list(await pathwayd.traces.end_table("t")) == []
        assert list(await pathwayd.traces.end_table("u")) == ["a"]


async def _put(pathwayd: Pathwayd, key: str) -> None:
    assert (await pathwayd.http.put(f"/storage/objects/{key}", content=b"x")).status_code == 201


async def _forget(*_args: object, **_options: object) -> list[str]:
    return []
