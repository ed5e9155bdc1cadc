"""The gates of the original's traces, eleven of them, on each way to the service."""

from __future__ import annotations

from tests.services.conformance.lakes import Lake


def test_pathway_smoke(lake: Lake, unique: str) -> None:
    route = lake.through("pathwayd")

    def post(name: str, **document: object) -> dict[str, object]:
        answer = route.request("POST", f"/pathway/{name}", json=document)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    assert route.request("GET", "/pathway/health").json() == {"status": "ok", "service": "pathwayd"}  # 1
    first = post("add", content={"tried": "x"}, tags=[unique])
    uid = first["uid"]  # 2
    assert route.request("GET", f"/pathway/get/{uid}").json() == first  # 3
    post("add_idempotent", uid=unique, content="kept", tags=[unique])
    replayed = post("add_idempotent", uid=unique, content="not kept")
    assert (replayed["content"], replayed["replay_count"]) == ("kept", 1)  # 4
    assert post("update", uid=uid, content={"tried": "y"})["content"] == {"tried": "y"}  # 5
    second = post("revise", predecessor_uid=uid, content="z", tags=[unique])
    assert second["predecessor_uid"] == uid  # 6
    chain = route.request("GET", f"/pathway/history/{second['uid']}").json()["history"]
    assert [trace["uid"] for trace in chain] == [second["uid"], uid]  # 7
    assert post("retire", uid=uid) == {"retired": [uid]}  # 8
    found = post("search", tag=unique)["traces"]
    assert isinstance(found, list)
    assert [trace["uid"] for trace in found] == [second["uid"], unique]  # 9
    assert route.request("GET", f"/pathway/get/{uid}").json()["retired"] is True  # 10; 11 is the state "killed"
