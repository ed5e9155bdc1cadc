"""The client of the bucket against a scripted server: what it sends again, and what its errors say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.core.errors import ErrBadRequest, ErrPreconditionFailed, ErrUnavailable, ErrUpstream
from lakehouse.services.ingestd.shared_records import FOLDER, remove_expired
from lakehouse.services.storaged.bucket.reads import BucketReads
from lakehouse.services.storaged.index.listing import encode_cursor
from lakehouse.services.warehouse.bucket import ATTEMPTS, Bucket, make_bucket
from lakehouse.services.warehouse.credentials import CredentialSource
from lakehouse.services.warehouse.settings import WarehouseSettings
from lakehouse.services.warehouse.uploads import PART, upload
from tools.kit.raw_http import read_whole_body, send_response, serve_app

ERROR = "<Error><Code>{}</Code><Message>because</Message></Error>"
Script = Callable[[str, str], tuple[int, str]]


@dataclass
class ScriptedS3:
    """Answers each request with a status and a body, and records the requests."""

    answer: Script
    requests: list[tuple[str, str]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = scope["query_string"].decode()
        request = (scope["method"], scope["raw_path"].decode() + (f"?{query}" if query else ""))
        self.requests.append(request)
        self.keys.append(dict(scope["headers"])[b"authorization"].decode().partition("=")[2].partition("/")[0])
        await read_whole_body(receive)
        status, body = self.answer(*request)
        await send_response(send, body.encode(), status, [(b"etag", b'"e"'), (b"content-length", b"%d" % len(body))])


@asynccontextmanager
async def open_scripted(answer: Script, key_file: Path) -> AsyncIterator[tuple[ScriptedS3, Bucket]]:
    script = ScriptedS3(answer)
    async with serve_app(script) as server:
        bucket = make_bucket(
            WarehouseSettings(
                bucket="b",
                prefix="p/",
                endpoint=f"http://127.0.0.1:{server.port}",
                region="us-east-1",
                path_style=True,
                key_file=str(key_file),
                environment={},
                catalog="",
            )
        )
        try:
            yield script, bucket
        finally:
            bucket.close()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.env"
    path.write_text("AWS_ACCESS_KEY_ID=first\nAWS_SECRET_ACCESS_KEY=hidden\n")
    return path


async def test_a_server_that_is_busy_is_asked_again(autojump_clock: MockClock, key_file: Path) -> None:
    left = [503, 500, 200]
    async with open_scripted(lambda *_: (left.pop(0), ""), key_file) as (script, bucket):
        await bucket.put("a b", b"1")
    assert script.requests == [("PUT", "/b/p/a%20b")] * 3


@pytest.mark.parametrize("status", [429, 503])
async def test_a_write_under_a_condition_that_was_turned_away_is_sent_again(
    status: int, autojump_clock: MockClock, key_file: Path
) -> None:
    left = [status, status, 200]
    async with open_scripted(lambda *_: (left.pop(0), ""), key_file) as (script, bucket):
        await bucket.put("a b", b"1", {"if-none-match": "*"})
    assert script.requests == [("PUT", "/b/p/a%20b")] * 3


@pytest.mark.parametrize("status", [500, 502, 504])
@pytest.mark.parametrize("condition", [{"if-none-match": "*"}, {"If-Match": '"e"'}])
async def test_a_write_under_a_condition_that_may_have_been_made_is_not_refused_as_that_of_another(
    status: int, condition: dict[str, str], key_file: Path
) -> None:
    left = [status, 412]
    async with open_scripted(lambda *_: (left.pop(0), ""), key_file) as (script, bucket):
        with pytest.raises(ErrUnavailable, match="may have been made"):
            await bucket.put("a", b"1", condition)
    assert len(script.requests) == 1


async def test_a_read_under_a_condition_is_sent_again(autojump_clock: MockClock, key_file: Path) -> None:
    left = [500, 502, 200]
    async with open_scripted(lambda *_: (left.pop(0), ""), key_file) as (script, bucket):
        async with bucket.open("a", {"if-match": '"e"'}) as response:
            assert response is not None
    assert len(script.requests) == 3


async def test_a_server_that_stays_busy_is_503(autojump_clock: MockClock, key_file: Path) -> None:
    async with open_scripted(lambda *_: (503, ERROR.format("SlowDown")), key_file) as (script, bucket):
        with pytest.raises(ErrUnavailable, match="SlowDown") as caught:
            await bucket.read("a")
    assert len(script.requests) == ATTEMPTS
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("status", "code", "kind", "text"),
    [
        (403, "ExpiredToken", ErrUpstream, "the keys have expired"),
        (403, "SignatureDoesNotMatch", ErrUpstream, "the keys are refused"),
        (404, "NoSuchBucket", ErrUpstream, "has no bucket 'b'"),
        (412, "PreconditionFailed", ErrPreconditionFailed, "another version"),
        (301, "PermanentRedirect", ErrUpstream, "see lake.region and lake.endpoint"),
        (307, "TemporaryRedirect", ErrUpstream, "see lake.region and lake.endpoint"),
        (400, "Strange", ErrUpstream, "Strange"),
    ],
)
async def test_what_is_refused(status: int, code: str, kind: type[Exception], text: str, key_file: Path) -> None:
    async with open_scripted(lambda *_: (status, ERROR.format(code)), key_file) as (script, bucket):
        with pytest.raises(kind, match=text) as caught:
            await bucket.put("a", b"1")
        with pytest.raises(kind, match=text):
            await bucket.read("a")
        with pytest.raises(kind, match=text):
            await bucket.delete("a")
    assert [method for method, _ in script.requests] == ["PUT", "GET", "DELETE"]
    assert "hidden" not in str(caught.value)


async def test_a_key_without_an_object(key_file: Path) -> None:
    async with open_scripted(lambda *_: (404, ERROR.format("NoSuchKey")), key_file) as (_, bucket):
        assert await bucket.read("a") is None
        assert await bucket.find("a") is None
        await bucket.delete("a")


async def test_a_cursor_that_is_no_text(key_file: Path) -> None:
    async with open_scripted(lambda *_: (200, "<ListBucketResult/>"), key_file) as (script, bucket):
        with pytest.raises(ErrBadRequest, match="not one that a list has given"):
            await BucketReads(bucket).list("", delimiter="", limit=10, cursor="_w")
        assert script.requests == []
        await BucketReads(bucket).list("", delimiter="", limit=10, cursor=encode_cursor("é".encode()))
    [(_, target)] = script.requests
    assert "start-after=p%2F%C3%A9" in target


def test_keys_of_the_file_are_not_mixed_with_a_token_of_the_environment(key_file: Path) -> None:
    environment = {"AWS_ACCESS_KEY_ID": "other", "AWS_SESSION_TOKEN": "of-other", "PGPASSWORD": "word"}
    found = CredentialSource(str(key_file), environment).load()
    assert (found.key_id, found.secret, found.session) == ("first", "hidden", "")
    assert found.postgres_password == "word"
    environment["AWS_SECRET_ACCESS_KEY"] = "s"
    assert CredentialSource("", environment).load().session == "of-other"


async def test_keys_are_replaced_without_a_restart(key_file: Path) -> None:
    async with open_scripted(lambda *_: (200, ""), key_file) as (script, bucket):
        await bucket.put("a", b"1")
        key_file.write_text("AWS_ACCESS_KEY_ID=second\nAWS_SECRET_ACCESS_KEY=hidden\n")
        await bucket.put("a", b"1")
        key_file.unlink()
        with pytest.raises(ErrUpstream, match=r"lake\.key_file .* cannot be read"):
            await bucket.put("a", b"1")
    assert script.keys == ["first", "second"]


def answer_parts(method: str, target: str) -> tuple[int, str]:
    if target.endswith("?uploads="):
        return 200, "<R><UploadId>u</UploadId></R>"
    if method == "POST":
        return 200, '<R><ETag>"whole"</ETag></R>'
    return 200, ""


async def test_many_bytes_are_parts_that_are_completed_in_order(key_file: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(2 * PART // 2**20 + 1):
            yield bytes(2**20)

    async with open_scripted(answer_parts, key_file) as (script, bucket):
        stored = await upload(bucket, "a", pieces())
    assert (stored.size, stored.etag) == (2 * PART + 2**20, '"whole"')
    assert script.requests[0] == ("POST", "/b/p/a?uploads=")
    assert sorted(script.requests[1:-1]) == [("PUT", f"/b/p/a?partNumber={n}&uploadId=u") for n in (1, 2, 3)]
    assert script.requests[-1] == ("POST", "/b/p/a?uploadId=u")


async def test_an_upload_that_fails_is_aborted(key_file: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(2 * PART + 1)
        raise ConnectionResetError

    async with open_scripted(answer_parts, key_file) as (script, bucket):
        with pytest.raises(ConnectionResetError):
            await upload(bucket, "a", pieces())
    assert script.requests[-1] == ("DELETE", "/b/p/a?uploadId=u")


async def test_an_upload_that_is_cancelled_is_aborted(key_file: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(2 * PART + 1)
        scope.cancel()
        await trio.sleep_forever()

    async with open_scripted(answer_parts, key_file) as (script, bucket):
        with trio.CancelScope() as scope:
            await upload(bucket, "a", pieces())
    assert scope.cancelled_caught
    assert script.requests[-1] == ("DELETE", "/b/p/a?uploadId=u")


async def test_a_completion_that_fails_behind_its_head_is_an_error(key_file: Path) -> None:
    def answer(method: str, target: str) -> tuple[int, str]:
        if method == "POST" and "uploadId" in target:
            return 200, ERROR.format("InternalError")
        return answer_parts(method, target)

    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(PART + 1)

    async with open_scripted(answer, key_file) as (script, bucket):
        with pytest.raises(ErrUpstream, match="InternalError"):
            await upload(bucket, "a", pieces())
    assert script.requests[-1][0] == "DELETE"


async def test_records_of_idempotency_keys_are_removed_after_a_day(key_file: Path) -> None:
    old, new = datetime.now(UTC) - timedelta(hours=25), datetime.now(UTC)
    entries = "".join(
        f"<Contents><Key>p/{FOLDER}{name}</Key><Size>1</Size><ETag>e</ETag><LastModified>{when:%Y-%m-%dT%H:%M:%SZ}</LastModified></Contents>"
        for name, when in (("old", old), ("new", new))
    )

    def answer(method: str, _target: str) -> tuple[int, str]:
        return (200, f"<ListBucketResult>{entries}</ListBucketResult>") if method == "GET" else (204, "")

    async with open_scripted(answer, key_file) as (script, bucket):
        assert await remove_expired(bucket) == 1
    assert script.requests[1:] == [("DELETE", f"/b/p/{FOLDER}old")]
