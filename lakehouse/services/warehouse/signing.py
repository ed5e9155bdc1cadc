"""AWS Signature Version 4 for S3: headers that sign a request, and URLs that carry their signature. Pure functions.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from lakehouse.services.warehouse.credentials import Credentials

_ALGORITHM = "AWS4-HMAC-SHA256"
_UNRESERVED = "-_.~"
UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = hashlib.sha256().hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Request:
    """What is signed: `path` is the decoded path with the bucket where it belongs there, `query` is decoded as well."""

    method: str
    host: str
    path: str
    query: Mapping[str, str]
    region: str


def encode_path(path: str) -> str:
    """A path in the form in which S3 signs it: all but letters, digits, `-_.~/` are percent-encoded, once."""
    return quote(path, safe=_UNRESERVED + "/")


def encode_query(query: Mapping[str, str]) -> str:
    """The canonical form of a query, which is also a valid one to send."""
    return "&".join(
        f"{quote(name, safe=_UNRESERVED)}={quote(value, safe=_UNRESERVED)}" for name, value in sorted(query.items())
    )


def sign_headers(
    request: S3Request, credentials: Credentials, now: datetime, *, digest: str, headers: Mapping[str, str]
) -> dict[str, str]:
    """The headers to send: the given ones, in lower case, with the signature of all. `digest` is that of the body."""
    time = now.strftime("%Y%m%dT%H%M%SZ")
    signed = {"host": request.host, "x-amz-content-sha256": digest, "x-amz-date": time}
    signed |= {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    if credentials.session:
        signed["x-amz-security-token"] = credentials.session
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    scope = f"{time[:8]}/{request.region}/s3/aws4_request"
    signature = _sign(request, encode_query(request.query), lines, names, digest, time, scope, credentials)
    fields = {name: value for name, value in signed.items() if name != "host"}
    fields["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return fields


def sign_target(request: S3Request, credentials: Credentials, now: datetime, *, seconds: int) -> str:
    """The target of a URL that anybody can use for `seconds`, which is at most seven days."""
    time = now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{time[:8]}/{request.region}/s3/aws4_request"
    query = {
        **request.query,
        "X-Amz-Algorithm": _ALGORITHM,
        "X-Amz-Credential": f"{credentials.key_id}/{scope}",
        "X-Amz-Date": time,
        "X-Amz-Expires": str(seconds),
        "X-Amz-SignedHeaders": "host",
    }
    if credentials.session:
        query["X-Amz-Security-Token"] = credentials.session
    encoded = encode_query(query)
    signature = _sign(request, encoded, f"host:{request.host}\n", "host", UNSIGNED, time, scope, credentials)
    return f"{encode_path(request.path)}?{encoded}&X-Amz-Signature={signature}"


def _sign(
    request: S3Request,
    query: str,
    lines: str,
    names: str,
    digest: str,
    time: str,
    scope: str,
    credentials: Credentials,
) -> str:
    canonical = "\n".join((request.method, encode_path(request.path), query, lines, names, digest))
    text = "\n".join((_ALGORITHM, time, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{credentials.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()
