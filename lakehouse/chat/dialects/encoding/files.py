"""Documents in requests: the data of a `data:` URL, or a remote URL. Nothing is fetched."""

from __future__ import annotations

import binascii
import re
from typing import NamedTuple

from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.parts import File
from lakehouse.core.errors import ErrBadRequest

DATA_URL = re.compile(
    r"data:(?P<media_type>[\w.+-]+/[\w.+-]+)(?:;[\w.+-]+=[^;,]*)*;base64,(?P<data>.*)", re.DOTALL | re.IGNORECASE
)


class Document(NamedTuple):
    """A document inside the request: `application/pdf`, its base64 without a prefix, and the decoded bytes."""

    media_type: str
    data: str
    decoded: bytes


def build_unsupported_part_error(message: int, part: int, kind: str, quirks: Quirks) -> ErrBadRequest:
    """Return the error for a content part that the dialect cannot represent."""
    where = f"messages[{message}].content[{part}]"
    return ErrBadRequest(f"`{where}` cannot be sent: {quirks.provider} takes no parts of type `{kind}`", field=where)


def is_remote(file: File) -> bool:
    """True for a document that is a URL."""
    return (file.file_data or "").lower().startswith(("https://", "http://"))


def parse_document(file: File, where: str) -> Document:
    """Return the document of a `data:` URL; raises `ErrBadRequest` naming `where` if it is not valid base64."""
    found = DATA_URL.fullmatch(file.file_data or "")
    if found is None:
        raise ErrBadRequest(
            f"`{where}` is not a file in base64: `data:application/pdf;base64,…` is expected", field=where
        )
    data = re.sub(r"\s", "", found["data"])
    try:
        decoded = binascii.a2b_base64(data, strict_mode=True)
    except binascii.Error as error:
        raise ErrBadRequest(f"`{where}` does not carry valid base64: {error}", field=where) from None
    if not data:
        raise ErrBadRequest(f"`{where}` carries no data", field=where)
    return Document(found["media_type"].lower(), data, decoded)
