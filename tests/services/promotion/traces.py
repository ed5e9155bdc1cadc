"""Traces and operations, and all that the services say about them, to be compared after a promotion."""

from __future__ import annotations

from typing import Any

from tests.services.warehouse.two_services import LakeCalls


async def tell_traces(service: LakeCalls) -> str:
    """Record traces and operations. Returns the id of a revision."""
    await service.call("storaged", "PUT", "/storage/put/notes", b"x")
    added = {"uid": "a", "content": {"step": 1}, "tags": ["größe", "b"], "sources": [{"object": "notes"}]}
    await service.post("pathwayd", "/pathway/add", added)
    revision = await service.post("pathwayd", "/pathway/revise", {"predecessor_uid": "a", "content": {"step": 2}})
    derived = {"uid": "c", "content": "x", "sources": [{"trace": revision["uid"]}]}
    await service.post("pathwayd", "/pathway/add_idempotent", derived)
    await service.post("pathwayd", "/pathway/add_idempotent", derived)
    await service.post("pathwayd", "/pathway/add", {"uid": "d", "content": [1, 2.5, None]})
    await service.post("pathwayd", "/pathway/retire", {"uid": "d", "reason": "wrong"})
    for number in range(3):
        operation = {"endpoint": "x", "input_summary": f"{number}", "success": True, "source": "inbox"}
        await service.post("observerd", "/observer/event", operation)
    return str(revision["uid"])


async def read_traces(service: LakeCalls, revision: str) -> dict[str, Any]:
    """All that the routes say about traces and operations, but for what depends on the moment."""
    found = {uid: await service.call("pathwayd", "GET", f"/pathway/history/{uid}") for uid in (revision, "c", "d")}
    found["tagged"] = await service.post("pathwayd", "/pathway/search", {"tags": ["größe"]})
    found["retired"] = await service.post("pathwayd", "/pathway/search", {"state": "retired"})
    found["stats"] = await service.call("pathwayd", "GET", "/pathway/stats")
    found["operations"] = await service.call("observerd", "GET", "/observer/stats")
    return found
