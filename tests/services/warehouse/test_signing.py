"""Signatures, compared with the examples of Amazon's documentation."""

from __future__ import annotations

from datetime import UTC, datetime

from lakehouse.services.warehouse.credentials import Credentials
from lakehouse.services.warehouse.signing import EMPTY_SHA256, S3Request, encode_path, sign_headers, sign_target

KEYS = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
NOW = datetime(2013, 5, 24, tzinfo=UTC)
HOST = "examplebucket.s3.amazonaws.com"


def make_request(method: str, path: str, **query: str) -> S3Request:
    return S3Request(method=method, host=HOST, path=path, query=query, region="us-east-1")


def signature(headers: dict[str, str]) -> str:
    return headers["authorization"].rpartition("Signature=")[2]


def test_the_get_of_a_range() -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, GET Object"""
    request = make_request("GET", "/test.txt")
    headers = sign_headers(request, KEYS, NOW, digest=EMPTY_SHA256, headers={"Range": "bytes=0-9"})
    assert signature(headers) == "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    assert "host" not in headers


def test_the_list_of_a_bucket() -> None:
    """The same page, GET Bucket (List Objects)."""
    request = make_request("GET", "/", **{"max-keys": "2", "prefix": "J"})
    headers = sign_headers(request, KEYS, NOW, digest=EMPTY_SHA256, headers={})
    assert signature(headers) == "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"


def test_a_url_that_anybody_can_use() -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html"""
    target = sign_target(make_request("GET", "/test.txt"), KEYS, NOW, seconds=86400)
    assert target.endswith("X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")


def test_keys_are_encoded_once() -> None:
    assert encode_path("/a b/ü+x~%2F") == "/a%20b/%C3%BC%2Bx~%252F"


def test_a_session_is_signed_as_well() -> None:
    keys = Credentials(KEYS.key_id, KEYS.secret, "session")
    headers = sign_headers(make_request("GET", "/"), keys, NOW, digest=EMPTY_SHA256, headers={})
    assert headers["x-amz-security-token"] == "session"
    assert "x-amz-security-token" in headers["authorization"]
    assert "secret" not in repr(keys)
    assert KEYS.secret not in repr(keys)
