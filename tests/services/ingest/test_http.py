"""POST /ingest over real HTTP: forms and raw bodies, parameters, modes, limits, idempotency, and clients that leave."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
import trio

from lakehouse.config import IngestdTable
from lakehouse.services.ingestd import app as app_module
from lakehouse.services.ingestd.idempotency import LIFETIME, IdempotencyKeys, LocalRecords
from tests.services.ingest.format_kit import parquet
from tools.kit.child_processes import children, wait_until, wait_until_idle
from tools.kit.ingest_server import IngestServer, open_ingest_server
from tools.kit.raw_http import post
from tools.kit.shared_lake import SharedLake, open_shared_lake

CSV = b"id,city\n1,Ulm\n2,Aachen\n"
MAX = 256 * 1024


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedLake]:
    with open_shared_lake(tmp_path_factory.mktemp("shared") / "lake", IngestdTable(max_ingest_bytes=MAX)) as server:
        yield server


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[IngestServer]:
    async with open_ingest_server(tmp_path / "lake", IngestdTable(max_ingest_bytes=MAX)) as server:
        yield server


def details(answer: httpx.Response) -> Any:
    return answer.json()["error"].get("details")


def message(answer: httpx.Response) -> str:
    text: str = answer.json()["error"]["message"]
    return text


def test_the_answer_and_the_table(lake: SharedLake) -> None:
    answer = lake.send("geo/cities", CSV, file="cities.csv")
    document = answer.json()
    assert answer.status_code == 201
    assert document == {
        "dataset_id": document["dataset_id"],
        "name": "geo/cities",
        "row_count": 2,
        "rows_added": 2,
        "schema_fingerprint": document["schema_fingerprint"],
        "key": document["key"],
        "existing": False,
        "snapshot_id": document["snapshot_id"],
        "bytes_in": len(CSV),
        "bytes_stored": document["bytes_stored"],
        "columns": [{"name": "id", "type": "BIGINT"}, {"name": "city", "type": "VARCHAR"}],
        "warnings": [],
    }
    assert document["key"].startswith("datasets/geo/cities/")
    assert document["key"].endswith(".parquet")
    assert document["bytes_stored"] == (lake.directory / document["key"]).stat().st_size
    assert document["snapshot_id"].isdigit()
    assert lake.ask('SELECT * FROM "geo/cities" ORDER BY id') == [[1, "Ulm"], [2, "Aachen"]]
    assert lake.staged() == []


def test_the_same_file_twice_is_the_same_dataset(lake: SharedLake) -> None:
    first = (lake.send("t", CSV)).json()
    again = lake.send("t", CSV)
    assert again.status_code == 200
    assert again.json()["existing"] is True
    for same in ("dataset_id", "row_count", "schema_fingerprint"):
        assert again.json()[same] == first[same]
    assert again.json()["key"] != first["key"]
    assert lake.ask("SELECT count(*) FROM t") == [[2]]


def test_the_path_below_v1(lake: SharedLake) -> None:
    assert (lake.http.post("/v1/ingest?name=t", content=CSV)).status_code == 201
    assert (lake.http.get("/ingest?name=t")).status_code == 405


def test_a_form_with_one_part_of_any_name_and_with_a_file_among_others(lake: SharedLake) -> None:
    one = lake.http.post("/ingest?name=one", files={"upload": ("x.tsv", b"a\tb\n1\t2\n")})
    assert one.json()["columns"] == [{"name": "a", "type": "BIGINT"}, {"name": "b", "type": "BIGINT"}]
    plain = lake.http.post("/ingest?name=plain", files={"data": (None, CSV)})
    assert plain.status_code == 201
    several = lake.http.post(
        "/ingest?name=several", data={"comment": "x" * 1000, "b": "2"}, files={"file": ("x.csv", CSV)}
    )
    assert several.json()["bytes_in"] == len(CSV)
    assert lake.ask("SELECT count(*) FROM several") == [[2]]


def test_a_form_in_small_pieces(lake: SharedLake) -> None:
    """A line that looks like the boundary is content."""
    content = b"a\r\n--B,\r\n--\r\n\r\n--BB\r\n"
    body = b'--B\r\nContent-Disposition: form-data; name="file"; filename="x.csv"\r\n\r\n' + content + b"\r\n--B--\r\n"
    path = f"/ingest?name={lake.table}"
    head = post(path, b"", "Content-Type: multipart/form-data; boundary=B", length=len(body))
    for size in (1, 2, 7):
        answer = lake.exchange(head, *(body[start : start + size] for start in range(0, len(body), size)))
        assert f'"bytes_in":{len(content)}'.encode() in answer, answer


FORM = {"Content-Type": "multipart/form-data; boundary=B"}
PART = b'--B\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
FILE = PART % (b"file", b'; filename="x.csv"', CSV)


@pytest.mark.parametrize(
    ("headers", "body", "words"),
    [
        (FORM, b"", "closing boundary"),
        (FORM, FILE, "closing boundary"),
        (FORM, FILE[:60], "closing boundary"),
        (FORM, b"no form at all", "malformed"),
        (FORM, b"preamble\r\n" + FILE + b"--B--\r\n", "malformed"),
        (FORM, b"--B--\r\n", "no part named `file`"),
        (FORM, PART % (b"a", b"", b"1") + PART % (b"b", b"", b"2") + b"--B--\r\n", "no part named `file`"),
        (FORM, FILE + PART % (b"x", b'; filename="y.csv"', CSV) + b"--B--\r\n", "more than one file"),
        (FORM, FILE + FILE + b"--B--\r\n", "more than one file"),
        (FORM, FILE + PART % (b"mode", b"", b"append") + b"--B--\r\n", "`mode`"),
        (FORM, FILE.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n") + b"--B--\r\n", "base64"),
        ({"Content-Type": "multipart/form-data"}, FILE + b"--B--\r\n", "boundary"),
        ({"Content-Type": "multipart/mixed; boundary=B"}, FILE + b"--B--\r\n", "multipart/mixed"),
    ],
)
def test_a_form_that_is_none_is_refused(lake: SharedLake, headers: dict[str, str], body: bytes, words: str) -> None:
    answer = lake.http.post("/ingest?name=t", content=body, headers=headers)
    assert answer.status_code == 400
    assert words in message(answer)
    assert lake.staged() == []


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("", "`name`"),
        ("name=", "`name`"),
        ("name=a%20b", "`name`"),
        ("name=../x", "`name`"),
        ("name=main", "`name`"),
        ("name=t&name=u", "`name`"),
        ("name=t&nmae=u", "`nmae`"),
        ("name=t&format=xml", "`format`"),
        ("name=t&mode=merge", "`mode`"),
        ("name=t&mode=upsert", "`key`"),
        ("name=t&mode=upsert&key=", "`key`"),
        ("name=t&mode=upsert&key=id,id", "`key`"),
        ("name=t&mode=upsert&key=nope", "`key`"),
        ("name=t&key=id", "`key`"),
        ("name=t&evolve=maybe", "`evolve`"),
        ("name=t&types=DOUBLE", "`types`"),
        ('name=t&types={"x":1}', "`types`"),
        ('name=t&types={"nope":"DOUBLE"}', "nope"),
        ('name=t&types={"id":"MONEY"}', "MONEY"),
        ("name=t&encoding=klingon", "klingon"),
        ("name=t&delimiter=;;", "`delimiter`"),
        ("name=t&quote=", "`quote`"),
        ("name=t&header=2", "`header`"),
        ("name=t&skip=-1", "`skip`"),
        ("name=t&skip=x", "`skip`"),
        ("name=t&skip=1000001", "`skip`"),
        ("name=t&skip=000000000000000000001000001", "`skip`"),
        ("name=t&mode", "query"),
        ("name=%ff", "query"),
    ],
)
def test_a_bad_parameter_is_named(lake: SharedLake, query: str, word: str) -> None:
    answer = lake.http.post(f"/ingest?{query}", content=CSV, headers={"Content-Type": "text/csv"})
    assert answer.status_code == 400, answer.text
    assert word in message(answer)


def test_parameters_of_the_dialect(lake: SharedLake) -> None:
    body = "title\nid;'na;me'\n1;NA\n2;'x;y'\n".encode("utf-16")
    answer = lake.send("t", body, skip="1", delimiter=";", quote="'", header="true", null="NA")
    assert answer.status_code == 201, answer.text
    assert lake.ask('SELECT "na;me" FROM t ORDER BY id') == [[None], ["x;y"]]
    bare = lake.send("bare", b"1\t2\n", delimiter="\\t", header="false")
    assert [column["name"] for column in bare.json()["columns"]] == ["column1", "column2"]


@pytest.mark.parametrize(
    ("name", "mark"), [("tab", "\t"), ("COMMA", ","), ("semicolon", ";"), ("pipe", "|"), ("space", " ")]
)
def test_a_delimiter_by_its_name(lake: SharedLake, name: str, mark: str) -> None:
    answer = lake.send("t", f"id{mark}city\n1{mark}Ulm\n".encode(), delimiter=name)
    assert answer.status_code == 201, answer.text
    assert lake.ask("SELECT id, city FROM t") == [[1, "Ulm"]]


def test_quotes_as_data(lake: SharedLake) -> None:
    answer = lake.send("t", b'id,size\n1,"5\n2,6"\n', quote="none")
    assert answer.status_code == 201, answer.text
    assert lake.ask("SELECT size FROM t ORDER BY id") == [['"5'], ['6"']]


def test_append_adds_and_replace_replaces(lake: SharedLake) -> None:
    lake.send("t", CSV)
    added = lake.send("t", b"city,id\nBonn,3\n", mode="append")
    assert (added.status_code, added.json()["row_count"], added.json()["rows_added"]) == (200, 3, 1)
    assert lake.ask("SELECT * FROM t WHERE id = 3") == [[3, "Bonn"]]
    replaced = lake.send("t", b"id,city\n9,Koeln\n")
    assert (replaced.json()["row_count"], replaced.json()["rows_added"]) == (1, 1)
    assert lake.ask("FROM t") == [[9, "Koeln"]]


def test_upsert(lake: SharedLake) -> None:
    new = lake.send("t", b"id,v\n1,a\n2,b\n1,c\n", mode="upsert", key="id")
    assert (new.status_code, new.json()["row_count"]) == (201, 2)
    assert lake.ask("FROM t ORDER BY id") == [[1, "c"], [2, "b"]]
    again = lake.send("t", b"v,id\nnew,3\nx,2\ny,2\n", mode="upsert", key='["id"]')
    assert (again.status_code, again.json()["row_count"]) == (200, 3)
    assert lake.ask("FROM t ORDER BY id") == [[1, "c"], [2, "y"], [3, "new"]]
    refused = lake.send("t", b"id,v\n7,q\n,r\n", mode="upsert", key="id")
    assert refused.status_code == 422
    assert lake.ask("SELECT count(*) FROM t") == [[3]]


@pytest.mark.parametrize("mode", ["replace", "append", "upsert"])
def test_another_schema_is_refused_with_the_differences(lake: SharedLake, mode: str) -> None:
    lake.send("t", CSV)
    key = {"key": "city"} if mode == "upsert" else {}
    answer = lake.send("t", b"id,city,zip\nx,Ulm,89073\n", query={"mode": mode, **key})
    assert answer.status_code == 409
    differences = {entry["column"]: (entry["was"], entry["is"]) for entry in details(answer)["differences"]}
    assert differences == {"id": ("BIGINT", "VARCHAR"), "zip": (None, "BIGINT")}
    assert lake.ask("SELECT count(*) FROM t") == [[2]]
    assert lake.staged() == []


def test_evolve_adds_columns_and_widens(lake: SharedLake) -> None:
    lake.send("t", parquet({"id": pa.array([1], pa.int32())}))
    answer = lake.send("t", b"id,city\n5000000000,Ulm\n", mode="append", evolve="true")
    assert answer.status_code == 200, answer.text
    assert answer.json()["columns"] == [{"name": "id", "type": "BIGINT"}, {"name": "city", "type": "VARCHAR"}]
    assert lake.ask("FROM t ORDER BY id") == [[1, None], [5_000_000_000, "Ulm"]]


def test_evolve_writes_the_table_again_for_numbers_of_another_kind(lake: SharedLake) -> None:
    lake.send("t", b"id,n,city\n1,10,Ulm\n2,,Bonn\n")
    lake.send("t", b"id,n,city\n3,30,Kiel\n", mode="append")
    before = lake.send("t", b"id,n,city\n4,40,Jena\n", mode="append").json()
    answer = lake.send("t", b"id,n,city\n5,0.5,Aalen\n", mode="append", evolve="true")
    assert answer.status_code == 200, answer.text
    assert answer.json()["columns"][1] == {"name": "n", "type": "DOUBLE"}
    assert (answer.json()["row_count"], answer.json()["rows_added"]) == (5, 1)
    assert lake.ask("FROM t ORDER BY id") == [
        [1, 10.0, "Ulm"], [2, None, "Bonn"], [3, 30.0, "Kiel"], [4, 40.0, "Jena"], [5, 0.5, "Aalen"],
    ]  # fmt: skip
    past = f"SELECT typeof(n), n FROM t AT (VERSION => {before['snapshot_id']}) ORDER BY id"
    assert lake.ask(past) == [["BIGINT", 10], ["BIGINT", None], ["BIGINT", 30], ["BIGINT", 40]]
    answer = lake.send("t", b"id,n,city\n2.5,7,Hof\n3,3.5,Kehl\n", mode="upsert", key="id", evolve="true")
    assert answer.status_code == 200, answer.text
    assert lake.ask("SELECT id, n, city FROM t ORDER BY id") == [
        [1.0, 10.0, "Ulm"], [2.0, None, "Bonn"], [2.5, 7.0, "Hof"], [3.0, 3.5, "Kehl"], [4.0, 40.0, "Jena"],
        [5.0, 0.5, "Aalen"],
    ]  # fmt: skip
    assert lake.staged() == []


def test_evolve_refuses_a_table_whose_numbers_would_change(lake: SharedLake) -> None:
    lake.send("t", b"n\n9007199254740993\n")
    answer = lake.send("t", b"n\n0.5\n", mode="append", evolve="true")
    assert answer.status_code == 422
    assert "9007199254740993" in answer.text
    assert lake.ask("SELECT typeof(n), n::VARCHAR FROM t") == [["BIGINT", "9007199254740993"]]
    assert lake.staged() == []


def test_a_replacement_that_may_evolve_gives_columns_any_type(lake: SharedLake) -> None:
    lake.send("t", b"id,day\n1,2024-01-01\n")
    answer = lake.send("t", b"id,day\nx,7\n", evolve="true")
    assert answer.status_code == 200, answer.text
    assert answer.json()["columns"] == [{"name": "id", "type": "VARCHAR"}, {"name": "day", "type": "BIGINT"}]
    assert lake.ask("FROM t") == [["x", 7]]


def test_a_refusal_leaves_nothing(lake: SharedLake) -> None:
    for body, status in ((b"", 422), (b"a,b\n1\n2,3,4\n", 422), (b"%PDF-1.7\n", 415), (b"a\n\xff\n", 422)):
        answer = lake.send("t", body, file="x.csv")
        assert answer.status_code == status, answer.text
    assert not lake.exists()
    assert lake.staged() == []


def test_a_length_over_the_limit_is_refused_before_the_body_is_read(lake: SharedLake) -> None:
    answer = lake.exchange(post("/ingest?name=t", b"", length=MAX + 1))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"ingestd.max_ingest_bytes" in answer
    exact = lake.send("t", b"a\n" + b"1\n" * ((MAX - 2) // 2), content_type="text/csv")
    assert exact.status_code == 201, exact.text


def test_a_body_without_a_length_is_refused_at_the_limit(lake: SharedLake) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(MAX // 4096 + 1):
            yield b"1234567\n" * 512

    answer = lake.http.post("/ingest?name=t", content=pieces())
    assert answer.status_code == 413
    form = lake.send("t", b"x" * (MAX + 1), file="x.csv")
    assert form.status_code == 413
    assert lake.staged() == []


def test_content_encoding(lake: SharedLake) -> None:
    answer = lake.send("t", gzip.compress(CSV), headers={"Content-Encoding": "gzip"}, content_type="text/csv")
    assert answer.status_code == 201, answer.text
    assert answer.json()["row_count"] == 2
    twice = gzip.compress(gzip.compress(CSV))
    assert (lake.send("t", twice, headers={"Content-Encoding": "gzip"})).status_code == 422
    other = lake.send("t", CSV, headers={"Content-Encoding": "br"})
    assert other.status_code == 415
    bomb = gzip.compress(b"a\n" + b"1\n" * MAX)
    assert (lake.send("t", bomb)).status_code == 413


@pytest.fixture
async def own_large(tmp_path: Path) -> AsyncIterator[IngestServer]:
    async with open_ingest_server(tmp_path / "lake") as server:
        yield server


# Idempotency.


def test_a_repeated_upload_answers_as_the_first_did(lake: SharedLake) -> None:
    key = {"Idempotency-Key": "order-17"}
    first = lake.send("t", CSV, mode="append", headers=key)
    again = lake.send("t", CSV, mode="append", headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert lake.ask("SELECT count(*) FROM t") == [[2]]
    other = lake.send("t", CSV + b"3,x\n", mode="append", headers=key)
    assert other.status_code == 409
    elsewhere = lake.send("u", CSV, mode="append", headers=key)
    assert elsewhere.status_code == 409
    assert (lake.send("t", CSV, mode="append", headers={"Idempotency-Key": "other"})).json()["row_count"] == 4


async def test_a_key_lives_over_a_restart(tmp_path: Path) -> None:
    key = {"Idempotency-Key": "k"}
    async with open_ingest_server(tmp_path / "lake") as own:
        first = await own.send("t", CSV, mode="append", headers=key)
    async with open_ingest_server(tmp_path / "lake") as own:
        again = await own.send("t", CSV, mode="append", headers=key)
        assert again.content == first.content
        assert await own.ask("SELECT count(*) FROM t") == [[2]]


async def test_a_key_lives_for_a_day(tmp_path: Path) -> None:
    now = 1_000_000.0
    keys = LocalRecords(tmp_path / "state.db", clock=lambda: now)
    await keys.finish("k", "request", 201, b"{}")
    now += LIFETIME - 1
    record = await keys.find("k")
    assert record is not None
    assert (record.request, record.status, record.document) == ("request", 201, b"{}")
    now += 2
    assert await keys.find("k") is None


def test_a_commit_whose_answer_was_lost_is_found_again(lake: SharedLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies between the commit and the record of the answer."""

    async def die(*_: object) -> None:
        raise RuntimeError("the process ends here")

    key = {"Idempotency-Key": "lost"}
    with monkeypatch.context() as patch:
        patch.setattr(IdempotencyKeys, "finish", die)
        assert lake.send("t", CSV, mode="append", headers=key).status_code == 500
    again = lake.send("t", CSV, mode="append", headers=key)
    assert (again.status_code, again.json()["row_count"], again.json()["existing"]) == (201, 2, False)
    assert lake.send("t", CSV, mode="append", headers=key).content == again.content
    assert lake.ask("SELECT count(*) FROM t") == [[2]]


def test_a_refused_upload_may_be_repeated(lake: SharedLake) -> None:
    key = {"Idempotency-Key": "refused"}
    assert lake.send("t", b"a\n\xff\n", headers=key).status_code == 422
    assert lake.send("t", CSV, headers=key).status_code == 201


def test_two_uploads_with_one_key_at_once(lake: SharedLake) -> None:
    key = {"Idempotency-Key": "at once"}
    with ThreadPoolExecutor(4) as executor:
        answers = list(executor.map(lambda _: lake.send("t", CSV, mode="append", headers=key), range(4)))
    assert min(answer.status_code for answer in answers) == 201
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert lake.ask("SELECT count(*) FROM t") == [[2]]


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
def test_a_key_that_is_none(lake: SharedLake, key: str) -> None:
    assert lake.send("t", CSV, headers={"Idempotency-Key": key}).status_code == 400


def test_uploads_to_one_table_wait_for_each_other(lake: SharedLake) -> None:
    with ThreadPoolExecutor(5) as executor:
        bodies = [f"id\n{number}\n".encode() for number in range(5)]
        answers = list(executor.map(lambda body: lake.send("t", body, mode="append"), bodies))
    assert {answer.status_code for answer in answers} == {200, 201}
    assert lake.ask("SELECT count(*), sum(id) FROM t") == [[5, 10]]


def test_a_full_disk_is_507(lake: SharedLake, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    lake.send("t", CSV)
    monkeypatch.setattr(app_module, "receive_upload", fail)
    answer = lake.send("t", CSV)
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "ErrInsufficientStorage")
    monkeypatch.undo()
    assert lake.ask("SELECT count(*) FROM t") == [[2]]


# Clients that leave.


async def test_a_client_that_leaves_leaves_nothing(own: IngestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's call is cancelled with the request, and the upload's folder goes with it."""
    await _leave(own, "", post("/ingest?name=t", CSV, length=1000))
    for step, phase in (("inspect", "scanning"), ("convert", "writing")):
        stopped = trio.Event()
        with monkeypatch.context() as patch:
            patch.setattr(type(own.engine), step, _never_ending(getattr(own.engine, step), stopped))
            await _leave(own, phase, post("/ingest?name=t", CSV, "Content-Type: text/csv"))
        with trio.fail_after(20):
            await stopped.wait()
    assert (await own.send("t", CSV)).status_code == 201


@pytest.mark.alone  # measures processor time
async def test_the_engine_is_idle_after_the_client_has_left(own_large: IngestServer) -> None:
    """While the child parses JSON in Python, and while pyarrow or DuckDB works, a cancelled call stops or is killed."""
    before = children()
    body = b'{"a":1,"b":"some text","c":[1,2,3]}\n' * 1_000_000
    async with await own_large.server.connect() as client:
        await client.send(post("/ingest?name=t", body, "Content-Type: application/x-ndjson"))
        with trio.fail_after(20):
            while not any(each.phase == "scanning" for each in own_large.server.active_requests):
                await trio.sleep(0.01)
        await trio.sleep(0.2)
    engines = children() - before
    await wait_until(lambda: not len(own_large.server.active_requests) and not own_large.staged())
    await wait_until_idle(lambda: engines & children(), seconds=3)
    assert await own_large.tables.find("t") is None
    assert (await own_large.send("t", CSV)).status_code == 201


async def _leave(own: IngestServer, phase: str, request: bytes) -> None:
    """Send a request, leave when it has reached a phase, and wait until nothing is left of it."""
    async with await own.server.connect() as client:
        await client.send(request)
        with trio.fail_after(20):
            while not own.staged() or not any(phase in ("", each.phase) for each in own.server.active_requests):
                await trio.sleep(0.01)
    with trio.fail_after(20):
        while own.staged() or len(own.server.active_requests):
            await trio.sleep(0.01)
    assert await own.tables.find("t") is None


def _never_ending(step: Callable[..., Awaitable[object]], stopped: trio.Event) -> Callable[..., Awaitable[object]]:
    """A step of the engine that does its work and does not return."""

    async def run(_engine: object, *arguments: object) -> object:
        try:
            await step(*arguments)
            return await trio.sleep_forever()
        finally:
            stopped.set()

    return run
