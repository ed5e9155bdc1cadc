"""Keys of objects: from the request target, checked, and which of them clients can write. Pure functions.

A key is UTF-8, of at most 1,024 bytes, made of segments between slashes. It never becomes a part of a file's name, but
for those below `datasets/`, which name files of the lake's folder (`dataset_files`).
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from lakehouse.core.errors import ErrBadRequest, ErrForbidden

MAX_KEY_BYTES = 1024
DATASETS = "datasets/"
"""The beginning of the keys of tables' files."""

_INCOMPLETE_ENCODING = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_RESERVED_SEGMENTS = frozenset(("", ".", ".."))

_WRITERS = {
    DATASETS: "the files of tables: POST /v1/ingest writes them, DELETE /v1/catalog/tables/{name} deletes them",
    "_vectors/": "the files of vector indexes: the routes below /v1/vectors write them",
}
_SERVICES = "the services of the lake, which write them through routes of their own, such as /v1/vectors"


def decode_key(raw: bytes) -> str:
    """The key in the raw path of a request, percent-decoded exactly once. Raises ErrBadRequest."""
    if b"%" in raw:
        if _INCOMPLETE_ENCODING.search(raw):
            raise ErrBadRequest("the key has a percent sign that is not followed by two hexadecimal digits")
        raw = unquote_to_bytes(raw)
    try:
        key = raw.decode()
    except UnicodeDecodeError as error:
        raise ErrBadRequest(f"the key is not UTF-8: byte {error.start} cannot be decoded") from None
    check_key(key)
    return key


def check_key(key: str) -> None:
    """Raises ErrBadRequest, which names the rule, for a key that no object can have."""
    if not key:
        raise ErrBadRequest("the key is empty")
    _check_characters(key, "key")
    if key.startswith("/"):
        raise ErrBadRequest("the key begins with a slash")
    if not _RESERVED_SEGMENTS.isdisjoint(key.split("/")):
        raise ErrBadRequest("the key has an empty segment, or one that is `.` or `..`")


def check_prefix(prefix: str) -> None:
    """Raises ErrBadRequest for a prefix that no key can have."""
    _check_characters(prefix, "prefix")
    *complete, _ = prefix.split("/")  # the last segment may go on: `..` is a prefix of `..a`
    if not _RESERVED_SEGMENTS.isdisjoint(complete):
        raise ErrBadRequest("the prefix has an empty segment, or one that is `.` or `..`")


def _check_characters(text: str, name: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ErrBadRequest(f"the {name} is not UTF-8") from None
    if size > MAX_KEY_BYTES:
        raise ErrBadRequest(f"the {name} has {size} bytes; keys have at most {MAX_KEY_BYTES}")
    if "\\" in text:
        raise ErrBadRequest(f"the {name} has a backslash")
    if (match := _CONTROL.search(text)) is not None:
        raise ErrBadRequest(f"the {name} has the control character U+{ord(match[0]):04X}")


def check_writable(key: str) -> None:
    """Raises ErrForbidden, which names the route to use, for a key that clients cannot write."""
    if key.startswith(("_", DATASETS)):
        owner = next((owner for prefix, owner in _WRITERS.items() if key.startswith(prefix)), _SERVICES)
        raise ErrForbidden(f"this key can be read, and not written: it belongs to {owner}")
