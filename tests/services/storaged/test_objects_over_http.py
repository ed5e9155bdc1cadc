"""Objects over HTTP: put, read, list and delete, in both spellings of the routes."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from lakehouse.config import StoragedTable
from lakehouse.services.contracts.object_store import ObjectStore
from tools.kit.matrices import spread
from tools.kit.raw_http import get
from tools.kit.scaleout.object_storage import ObjectStorage
from tools.kit.storaged_server import Storaged, open_storaged

SMALL, LARGE = b"x" * 1024, os.urandom(700_001)


@pytest.fixture
def http(storaged: Storaged) -> httpx.AsyncClient:
    return storaged.http


Tag = Callable[[bytes], str]


@pytest.fixture
def tag(storaged: Storaged) -> Tag:
    return storaged.make_etag


@pytest.mark.parametrize("root", spread(["", "/v1"], 2))
@pytest.mark.parametrize(
    ("put", "method", "read", "delete"),
    [("put", "PUT", "get", "delete"), ("put", "POST", "get", "delete"), ("objects", "PUT", "objects", "objects")],
)
@pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
async def test_an_object_from_its_put_to_its_deletion(
    http: httpx.AsyncClient, root: str, put: str, method: str, read: str, delete: str, data: bytes, tag: Tag
) -> None:
    created = await http.request(
        method, f"{root}/storage/{put}/a/b", content=data, headers={"Content-Type": "text/csv"}
    )
    assert created.status_code == 201
    document = created.json()
    assert list(document) == ["key", "size", "etag", "last_modified"]
    assert (document["key"], document["size"], document["etag"]) == ("a/b", len(data), tag(data))
    assert created.headers["etag"] == tag(data)
    for answer in (await http.get(f"{root}/storage/{read}/a/b"), await http.head(f"{root}/storage/{read}/a/b")):
        assert answer.status_code == 200
        assert answer.headers["content-length"] == str(len(data))
        assert answer.headers["content-type"] == "text/csv"
        assert answer.headers["etag"] == tag(data)
        assert answer.headers["accept-ranges"] == "bytes"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "last-modified" in answer.headers
        assert answer.content == (data if answer.request.method == "GET" else b"")
    listed = (await http.get(f"{root}/storage/list")).json()
    assert listed == {
        "prefix": "",
        "objects": [document],
        "prefixes": [],
        "truncated": False,
        "next_cursor": None,
    }
    assert (await http.delete(f"{root}/storage/{delete}/a/b")).status_code == 204
    gone = await http.get(f"{root}/storage/{read}/a/b")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "ErrNotFound")
    assert (await http.delete(f"{root}/storage/{delete}/a/b")).status_code == 404


async def test_a_put_on_a_key_with_an_object_replaces_it(storaged: Storaged) -> None:
    http = storaged.http
    for number, data in enumerate([SMALL, LARGE, b"tiny", LARGE[:500_000], LARGE]):
        answer = await http.put("/storage/objects/k", content=data)
        assert answer.status_code == (200 if number else 201)
        assert (await http.get("/storage/objects/k")).content == data
    assert len(storaged.blobs()) == (storaged.bucket is None)  # the files of the former ones are removed
    await http.delete("/storage/objects/k")
    assert storaged.blobs() == []


async def test_a_key_and_a_key_below_it_both_have_objects(http: httpx.AsyncClient) -> None:
    for key in ("x/y", "x", "x/y/z"):
        assert (await http.put(f"/storage/put/{key}", content=key.encode())).status_code == 201
    for key in ("x", "x/y", "x/y/z"):
        assert (await http.get(f"/storage/get/{key}")).text == key


KEYS = [
    "a" * 1024,
    "ä" * 512,
    "日本語/ファイル",
    "a b",
    "a+b",
    "a%2Fb",  # as the client writes it: %252F
    "a%00b",
    "..a",
    "a..",
    "...",
    "a/.b",
    "-",
    "datasets",
    "datasetsx/y",
    "a/_b",
    "a/datasets/b",
    "?#&=",
    "\u2028",
    "C:",
    "CON",
    "~/x",
    "a;..;b",
    "objects.db",
]


@pytest.mark.parametrize("key", spread(KEYS, 3))
async def test_keys_that_are_taken(storaged: Storaged, key: str) -> None:
    """Decoded once: the key is the same in the answer, in a listing and in the next request."""
    http = storaged.http
    path = f"/storage/objects/{quote(key, safe='/')}"
    if storaged.bucket is not None and len(key.encode()) == 1024:  # and the prefix of the warehouse before it
        assert (await http.put(path, content=b"")).status_code == 400
        return
    assert (await http.put(path, content=key.encode())).json()["key"] == key
    assert (await http.get(path)).text == key
    assert (await http.get("/storage/list", params={"prefix": key})).json()["objects"][0]["key"] == key
    encoded = "".join(f"%{byte:02x}" for byte in key.encode())
    assert (await http.get(f"/storage/objects/{encoded}")).text == key


@pytest.mark.parametrize(
    ("key", "route"),
    [("datasets/t/data/x.parquet", "/v1/ingest"), ("_vectors/a", "/v1/vectors"), ("_x", "/v1/vectors")],
)
async def test_keys_of_the_lake_are_read_and_not_written(storaged: Storaged, key: str, route: str) -> None:
    http = storaged.http
    for answer in (
        await http.put(f"/storage/put/{key}", content=b"mine"),
        await http.delete(f"/storage/objects/{key}"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "ErrForbidden")
        assert route in answer.json()["error"]["message"]
    if key.startswith("datasets/"):
        await storaged.add_table_file(key, b"rows")
        await storaged.add_table_file("datasets/t/data/notes.txt", b"no table's file")
        if storaged.bucket is None:
            (storaged.directory.path / "datasets/t/data/link.parquet").symlink_to(storaged.directory.path / "lake.json")
    else:
        await storaged.store.write(key, pieces(b"rows"))
    answer = await http.get(f"/storage/get/{key}", headers={"Range": "bytes=1-2"})
    assert (answer.status_code, answer.content) == (206, b"ow")
    listed = (await http.get("/storage/list", params={"prefix": key[:9]})).json()["objects"]
    assert [(item["key"], item["size"], item["etag"]) for item in listed] == [(key, 4, answer.headers["etag"])]
    for other in ("notes.txt", "link.parquet", "absent.parquet"):
        assert (await http.get(f"/storage/get/datasets/t/data/{other}")).status_code == 404


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


# Conditions and ranges.


async def test_conditions_of_a_put(storaged: Storaged, tag: Tag) -> None:
    http = storaged.http
    path = "/storage/put/k"

    async def put(data: bytes, **headers: str) -> int:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await http.put(path, content=data, headers=sent)).status_code

    assert await put(b"0", If_Match="*") == 412
    assert await put(b"0", If_Match=tag(b"0")) == 412
    assert await put(b"0", If_None_Match="*") == 201
    assert await put(b"1", If_None_Match="*") == 412
    assert await put(LARGE, If_Match=tag(b"1")) == 412
    assert await put(b"1", If_Match=f"{tag(b'9')}, {tag(b'0')}") == 200
    assert await put(b"2", If_Unmodified_Since="Sun, 06 Nov 1994 08:49:37 GMT") == 412
    assert await put(b"2", If_None_Match=tag(b"1")) == 412
    assert (await http.get(path.replace("put", "get"))).content == b"1"
    assert (await http.delete("/storage/delete/k", headers={"If-Match": tag(b"9")})).status_code == 412
    assert (await http.delete("/storage/delete/k", headers={"If-Match": tag(b"1")})).status_code == 204
    assert storaged.blobs() == []


async def test_a_condition_that_fails_is_answered_before_the_body_is_sent(storaged: Storaged) -> None:
    await storaged.store.write("k", pieces(b"0"))
    async with await storaged.server.connect() as client:
        await client.send(
            b"PUT /storage/put/k HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\nContent-Length: 1000000000\r\n\r\n"
        )
        status, body = await client.response()
    assert (status, json.loads(body)["error"]["code"]) == (412, "ErrPreconditionFailed")


async def test_an_object_that_appears_during_an_upload_is_not_replaced(storaged: Storaged) -> None:
    async with await storaged.server.connect() as client:
        head = b"PUT /storage/put/k HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\nContent-Length: 100000\r\n\r\n"
        await client.send(head + bytes(99_999))
        await storaged.wait_for_upload()
        await storaged.store.write("k", pieces(b"first"))
        await client.send(b"\0")
        status, _ = await client.response()
    assert status == 412
    assert (await storaged.http.get("/storage/get/k")).content == b"first"
    assert storaged.blobs() == []


@pytest.mark.parametrize("data", [LARGE[:1000], LARGE], ids=["small", "large"])
async def test_ranges_and_conditions_of_a_get(http: httpx.AsyncClient, data: bytes, tag: Tag) -> None:
    modified = (await http.put("/storage/put/k", content=data)).json()["last_modified"]
    assert modified.endswith("Z")

    async def read(**headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await http.get("/storage/get/k", headers=sent)

    answer = await read(Range="bytes=10-19")
    assert (answer.status_code, answer.content) == (206, data[10:20])
    assert answer.headers["content-range"] == f"bytes 10-19/{len(data)}"
    assert (await read(Range="bytes=-5")).content == data[-5:]
    answer = await read(Range=f"bytes={len(data)}-")
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(data)}")
    answer = await read(If_None_Match=tag(data))
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag(data))
    assert (await read(If_Modified_Since=(await read()).headers["last-modified"])).status_code == 304
    assert (await read(If_Match='"other"')).status_code == 412
    assert (await read(Range="bytes=0-1", If_Range='"other"')).content == data
    assert "multipart/byteranges" in (await read(Range="bytes=0-1,8-9")).headers["content-type"]


# Types.


@pytest.mark.parametrize(
    ("sent", "kept", "attachment"),
    [
        (None, "application/octet-stream", False),
        ("text/csv; charset=utf-8", "text/csv; charset=utf-8", False),
        ("image/png", "image/png", False),
        ("text/html", "text/html", True),
        ("TEXT/HTML; charset=utf-8", "TEXT/HTML; charset=utf-8", True),
        ("image/svg+xml", "image/svg+xml", True),
        ("application/xhtml+xml", "application/xhtml+xml", True),
        ("application/atom+xml", "application/atom+xml", True),
        ("text/xml", "text/xml", True),
    ],
)
async def test_a_page_or_a_drawing_is_an_attachment(
    http: httpx.AsyncClient, sent: str | None, kept: str, attachment: bool
) -> None:
    headers = {} if sent is None else {"Content-Type": sent}
    await http.put("/storage/put/d/%C3%A4%22.html", content=b"<script>", headers=headers)
    for answer in (await http.get("/storage/get/d/ä%22.html"), await http.head("/storage/get/d/ä%22.html")):
        assert answer.headers["content-type"] == kept
        assert answer.headers["x-content-type-options"] == "nosniff"
        disposition = "attachment; filename*=UTF-8''%C3%A4%22.html" if attachment else None
        assert answer.headers.get("content-disposition") == disposition


@pytest.mark.parametrize("value", ["html", "text/", "a/b\x80", "text/html, text/plain", "a/" + "b" * 300])
async def test_a_content_type_that_is_none_is_refused(http: httpx.AsyncClient, value: str) -> None:
    answer = await http.put("/storage/put/k", content=b"", headers=[(b"Content-Type", value.encode("latin-1"))])
    assert (answer.status_code, "Content-Type" in answer.text) == (400, True)


async def test_what_a_put_cannot_be(http: httpx.AsyncClient) -> None:
    answer = await http.put("/storage/put/k", content=b"ab", headers={"Content-Range": "bytes 0-1/4"})
    assert answer.status_code == 400
    answer = await http.put("/storage/put/k", content=b"ab", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415
    assert (await http.get("/storage/list")).json()["objects"] == []


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/storage/put/k", "OPTIONS, POST, PUT"),
        ("PUT", "/storage/get/k", "GET, HEAD, OPTIONS"),
        ("POST", "/storage/objects/k", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("POST", "/storage/list", "GET, HEAD, OPTIONS"),
    ],
)
async def test_other_methods(http: httpx.AsyncClient, method: str, path: str, allow: str) -> None:
    answer = await http.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
    assert (await http.options(path)).headers["allow"] == allow


@pytest.mark.parametrize("path", ["/storage", "/storage/", "/storage/listing", "/storage/list/x", "/v2/storage/list"])
async def test_other_paths(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 404


# Sizes.


async def test_a_body_over_the_limit_is_refused_before_it_is_sent_and_while_it_comes(tmp_path: Path) -> None:
    table = StoragedTable(max_put=100_000)
    async with open_storaged(tmp_path / "lake", table) as storaged:
        exact = await storaged.http.put("/storage/put/exact", content=bytes(100_000))
        assert exact.status_code == 201
        async with await storaged.server.connect() as client:
            await client.send(b"PUT /storage/put/k HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n")
            status, body = await client.response()
            assert (status, json.loads(body)["error"]["code"]) == (413, "ErrTooLarge")
            assert b"storaged.max_put" in body
        async with await storaged.server.connect() as client:
            await client.send(b"PUT /storage/put/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(3):
                await client.send(b"%x\r\n%b\r\n" % (40_000, bytes(40_000)))
            status, _ = await client.response()
            assert status == 413
        assert len(storaged.blobs()) == 1
        assert [item["key"] for item in (await storaged.http.get("/storage/list")).json()["objects"]] == ["exact"]


async def test_a_pipelined_request_follows_a_put(storaged: Storaged) -> None:
    async with await storaged.server.connect() as client:
        await client.send(
            b"PUT /storage/put/k HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" + get("/storage/get/k")
        )
        assert (await client.response())[0] == 201
        assert await client.response() == (200, b"abc")


def contract(store: ObjectStore) -> ObjectStore:
    return store


async def test_the_contract(storaged: Storaged, tag: Tag) -> None:
    store = contract(storaged.store)
    info = await store.write("a/k", pieces(LARGE[:600_000], LARGE[600_000:]), content_type="text/csv")
    assert (info.key, info.size, info.etag, info.content_type) == ("a/k", len(LARGE), tag(LARGE), "text/csv")
    assert await store.find("a/k") == info
    assert await store.find("a") is None
    async with store.read("a/k", start=5, stop=600_005) as reader:
        assert reader.info == info
        read = [piece async for piece in reader]
    assert b"".join(read) == LARGE[5:600_005]
    assert max(map(len, read)) <= 256 * 1024
    page = await store.list(delimiter="/")
    assert (page.objects, page.prefixes, page.cursor) == ([], ["a/"], "")
    assert await store.delete("a/k")
    assert not await store.delete("a/k")


async def test_a_large_object_in_a_bucket_is_answered_with_a_url_if_that_is_wanted(
    tmp_path: Path, object_storage: ObjectStorage
) -> None:
    table, data = StoragedTable(redirect=True), os.urandom(1024 * 1024)
    async with object_storage.open_bucket() as bucket, open_storaged(tmp_path / "lake", table, bucket) as storaged:
        for key, body in (("large", data), ("small", data[:1000])):
            await storaged.http.put(f"/storage/put/{key}", content=body)
        answer = await storaged.http.get("/storage/get/large")
        assert (answer.status_code, answer.content) == (307, b"")
        async with httpx.AsyncClient(trust_env=False) as client:
            fetched = await client.get(answer.headers["location"], headers={"Range": "bytes=5-9"})
        assert (fetched.status_code, fetched.content) == (206, data[5:10])
        assert (await storaged.http.get("/storage/get/small")).content == data[:1000]
        assert (await storaged.http.head("/storage/get/large")).status_code == 200
