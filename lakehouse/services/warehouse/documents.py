"""The XML of S3: lists of objects, errors, the parts of an upload. Pure functions.

The documents come from the operator's own server, in bodies of bounded size.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape


class S3Document(Exception):
    """The document is not what S3 documents; the text completes "the object storage sent ..."."""


class ListedKey(NamedTuple):
    """An object of a list. `etag` is quoted, `modified` is in microseconds since 1970."""

    key: str
    size: int
    etag: str
    modified: int


class ListPage(NamedTuple):
    """A page of a list; `token` continues it, and is empty on the last one."""

    objects: Sequence[ListedKey]
    prefixes: Sequence[str]
    token: str


def parse_list(body: bytes) -> ListPage:
    """Read the answer of ListObjectsV2 with the encoding type `url`. Raises S3Document."""
    root = _parse(body)
    encoded = _text(root, "EncodingType") == "url"

    def decode(value: str) -> str:
        return unquote_plus(value) if encoded else value

    try:
        objects = [
            ListedKey(
                decode(_text(entry, "Key")),
                int(_text(entry, "Size")),
                _quote(_text(entry, "ETag")),
                _microseconds(_text(entry, "LastModified")),
            )
            for entry in root.iterfind("{*}Contents")
        ]
    except ValueError as error:
        raise S3Document(f"a list with an entry that cannot be read: {error}") from None
    prefixes = [decode(_text(entry, "Prefix")) for entry in root.iterfind("{*}CommonPrefixes")]
    return ListPage(objects, prefixes, _text(root, "NextContinuationToken"))


def parse_upload_id(body: bytes) -> str:
    """Read the answer of CreateMultipartUpload. Raises S3Document."""
    found = _text(_parse(body), "UploadId")
    if not found:
        raise S3Document("no id of the upload")
    return found


def parse_etag(body: bytes) -> str:
    """The etag of an object from the answer of CompleteMultipartUpload. Raises S3Document."""
    return _quote(_text(_parse(body), "ETag"))


def parse_error(body: bytes) -> tuple[str, str]:
    """The code and the message of an error; empty if the body is no such document."""
    try:
        root = _parse(body)
    except S3Document:
        return "", ""
    return (_text(root, "Code"), _text(root, "Message")) if root.tag.rpartition("}")[2] == "Error" else ("", "")


def make_parts(etags: Sequence[str]) -> bytes:
    """The document that completes an upload: its parts in their order."""
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
        for number, etag in enumerate(etags, 1)
    )
    return f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()


def _parse(body: bytes) -> ET.Element:
    try:
        return ET.fromstring(body)  # noqa: S314 - of the operator's own server; expat bounds its entities
    except ET.ParseError as error:
        raise S3Document(f"a body that is no XML: {error}") from None


def _text(element: ET.Element, name: str) -> str:
    return element.findtext(f"{{*}}{name}") or ""


def _quote(etag: str) -> str:
    return etag if etag.startswith('"') else f'"{etag}"'


def _microseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000) * 1000
