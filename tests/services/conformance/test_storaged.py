"""D2 and GOLAKE-010 to 012 and 084: objects."""

from __future__ import annotations

import os

from tests.services.conformance.lakes import MAX_PUT, Lake


def test_golake_010_to_012_put_get_list_delete(lake: Lake, unique: str) -> None:
    route, key, body = lake.through("storaged"), f"proof/{unique}", os.urandom(1024)
    put = route.request("PUT", f"/storage/put/{key}", content=body)
    assert (put.status_code, put.json()["key"], put.json()["size"]) == (201, key, 1024)
    assert put.headers["content-type"] == "application/json"
    assert route.request("GET", f"/storage/get/{key}").content == body
    listed = route.request("GET", f"/storage/list?prefix={key}").json()
    assert [(entry["key"], entry["size"]) for entry in listed["objects"]] == [(key, 1024)]
    assert not listed["truncated"]
    assert route.request("DELETE", f"/storage/delete/{key}").status_code == 204
    assert route.request("GET", f"/storage/get/{key}").status_code == 404
    assert route.request("GET", f"/storage/list?prefix={key}").json()["objects"] == []


def test_golake_084_a_missing_object_is_404(lake: Lake, unique: str) -> None:
    answer = lake.through("storaged").request("GET", f"/storage/get/{unique}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ErrNotFound")


def test_d2_smoke(lake: Lake, unique: str) -> None:
    route, key = lake.through("storaged"), f"d2/{unique}"
    assert route.request("PUT", f"/storage/objects/{key}", content=b"hello").status_code == 201  # 1
    assert route.request("GET", f"/storage/objects/{key}").content == b"hello"  # 2
    found = route.request("GET", "/storage/list?prefix=d2/").json()["objects"]
    assert key in [entry["key"] for entry in found]  # 3
    assert route.request("DELETE", f"/storage/objects/{key}").status_code == 204  # 4
    large = route.request("PUT", f"/storage/put/{key}", content=bytes(MAX_PUT + 1))
    assert (large.status_code, large.json()["error"]["status"]) == (413, 413)  # 5
    assert route.request("GET", f"/storage/get/{key}").status_code == 404
    for bad in ("/a", "a%2f..%2fb", "a%0db", "a%09b", "%00", "a" * 1025):
        assert route.request("GET", f"/storage/get/{bad}").status_code == 400, bad  # 6
