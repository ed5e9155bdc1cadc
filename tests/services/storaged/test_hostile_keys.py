"""Keys that try to climb out of the store, as bytes on a real socket, directly and through the gateway."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.storaged.keys import check_key, check_prefix, decode_key
from tools.kit.gateway_services import HttpStream, open_gateway
from tools.kit.storaged_server import Storaged, open_storaged

SECRET = b"the bytes of a file beside the lake"

CLIMBING = [
    b"../secret",
    b"..",
    b"../",
    b"./secret",
    b".",
    b"a/../../secret",
    b"a/..",
    b"a/../b",
    b"a/./b",
    b"a/.",
    b"/etc/passwd",
    b"//etc/passwd",
    b"a//b",
    b"a/",
    b"",
    b"%2e%2e/secret",
    b"%2E%2E%2Fsecret",
    b"..%2fsecret",
    b"%2e%2e%2fsecret",
    b".%2e/secret",
    b"%2e./secret",
    b"%2e",
    b"a/%2e%2e/%2e%2e/secret",
    b"a%2f..%2f..%2fsecret",
    b"%2fetc%2fpasswd",
    b"%2f%2fetc/passwd",
    b"a%2f%2fb",
    b"a%2f",
    b"..%5csecret",
    b"..\\secret",
    b"a\\b",
    b"a%5cb",
    b"C:%5csecret",
    b"%5c%5chost%5cshare",
    b"a%00",
    b"%00",
    b"secret%00.parquet",
    b"a%0d%0aSet-Cookie:x",
    b"a%0ab",
    b"a%09b",
    b"a%1bb",
    b"a%7fb",
    b"a%c2%85b",
    b"%c0%ae%c0%ae/secret",
    b"%c0%af",
    b"%e0%80%ae%e0%80%ae/secret",
    b"%ff%fe",
    b"a%ed%a0%80",
    b"a%80",
    b"a%",
    b"a%2",
    b"a%zz",
    b"%u002e%u002e/secret",
    b"a" * 1025,
    b"%c3%a4" * 513,
    b"datasets/../secret",
    b"datasets/../../secret",
    b"datasets/..%2f..%2fsecret",
    b"datasets/%2e%2e/%2e%2e/secret",
    b"datasets//etc/passwd",
    b"datasets/./x.parquet",
    b"datasets/",
    b"datasets/t%00/x.parquet",
    b"_vectors/../../secret",
]

HARMLESS = [  # not decoded twice, and no file of that name is opened
    b"%252e%252e%252fsecret",
    b"..;/secret",
    b"..%20/secret",
    b"%ef%bc%8e%ef%bc%8e/secret",
    b"~root/secret",
    b"$HOME/secret",
    b"secret",
    b"lake.json",
    b"objects.db",
    b"catalog.db",
    b"datasets/secret",
    b"datasets/link/secret.parquet",
    b"datasets/" + b"a" * 300 + b"/x.parquet",
    b"file:secret",
]


def tree(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.name.startswith("objects.db")}


@pytest.fixture
async def storaged(tmp_path: Path) -> AsyncIterator[Storaged]:
    for place in (tmp_path / "secret", tmp_path / "secret.parquet"):
        place.write_bytes(SECRET)
    async with open_storaged(tmp_path / "lake") as running:
        for name in ("secret", "catalog.db", "objects/secret", "datasets/secret"):
            (running.directory.path / name).write_bytes(SECRET)
        (running.directory.datasets / "link").symlink_to(tmp_path)
        yield running


async def send(client: HttpStream, method: bytes, target: bytes, body: bytes = b"") -> tuple[int, bytes]:
    await client.send(b"%b %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (method, target, len(body), body))
    start, headers = await client.head()
    return int(start.split()[1]), b"" if start.split()[1] == b"204" else await client.body(headers)


async def requests_of(connect: object, root: bytes, key: bytes) -> list[tuple[int, bytes]]:
    """The responses to each way of using a key, each on a connection of its own."""
    answers = []
    for method, route, body in (
        (b"GET", b"get", b""),
        (b"GET", b"objects", b""),
        (b"PUT", b"put", b"mine"),
        (b"POST", b"put", b"mine"),
        (b"PUT", b"objects", b"mine"),
        (b"DELETE", b"delete", b""),
        (b"DELETE", b"objects", b""),
    ):
        async with await connect() as client:  # type: ignore[operator]
            answers.append(await send(client, method, root + b"/storage/" + route + b"/" + key, body))
    return answers


def test_the_table_is_long() -> None:
    assert len(set(CLIMBING)) == len(CLIMBING) >= 40


@pytest.mark.parametrize("key", CLIMBING)
def test_the_key_itself_is_refused(key: bytes) -> None:
    with pytest.raises(ErrBadRequest):
        decode_key(key)


async def test_a_climbing_key_is_400_and_touches_nothing(storaged: Storaged) -> None:
    before = tree(storaged.directory.path.parent)
    for root in (b"", b"/v1"):
        for key in CLIMBING:
            for status, body in await requests_of(storaged.server.connect, root, key):
                assert status == 400, (root, key, body)
                assert json.loads(body)["error"]["code"] == "ErrBadRequest"
                assert SECRET not in body
    assert tree(storaged.directory.path.parent) == before
    assert (await storaged.http.get("/storage/list")).json()["objects"] == []


async def test_through_the_gateway_as_well(storaged: Storaged) -> None:
    before = tree(storaged.directory.path.parent)
    url = f"http://127.0.0.1:{storaged.server.port}"
    async with open_gateway(storaged_url=url) as gateway:
        for key in CLIMBING:
            for status, body in await requests_of(gateway.connect, b"/v1", key):
                assert status == 400, (key, body)
                assert SECRET not in body
        for key in HARMLESS:
            for status, body in await requests_of(gateway.connect, b"/v1", key):
                assert status in (200, 201, 204, 403, 404), (key, body)
                assert SECRET not in body
    assert tree(storaged.directory.path.parent) == before


async def test_a_harmless_key_is_a_key_like_any_other(storaged: Storaged) -> None:
    before = tree(storaged.directory.path.parent)
    for key in HARMLESS:
        read, same, *_ = await requests_of(storaged.server.connect, b"", key)
        assert (read[0], same[0]) == (404, 404), key
        async with await storaged.server.connect() as client:
            status, _ = await send(client, b"PUT", b"/storage/put/" + key, os.urandom(10))
            assert status == (403 if key.startswith(b"datasets/") else 201), key
    assert tree(storaged.directory.path.parent) == before


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("prefix=../", 400),
        ("prefix=..%2F", 400),
        ("prefix=%2Fetc", 400),
        ("prefix=a%2F%2F", 400),
        ("prefix=datasets/../", 400),
        ("prefix=datasets/../..", 400),
        ("prefix=a%5Cb", 400),
        ("prefix=a%00", 400),
        ("prefix=%ff", 400),
        ("prefix=" + "a" * 1025, 400),
        ("prefix=..", 200),
        ("prefix=.", 200),
        ("prefix=datasets/link/", 200),
        ("prefix=datasets/sec", 200),
        ("cursor=Li4v", 200),
        ("cursor=%2e%2e", 400),
    ],
)
async def test_a_prefix_lists_nothing_but_objects(storaged: Storaged, query: str, status: int) -> None:
    answer = await storaged.http.get(f"/storage/list?{query}")
    assert answer.status_code == status
    assert SECRET not in answer.content
    if status == 200:
        assert answer.json()["objects"] == []


@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b", "..", "a/..", "..a/"])
def test_prefixes_that_keys_can_have(prefix: str) -> None:
    check_prefix(prefix)
    check_key(prefix + "x/y")
