"""Documents on their way out: the data in a `data:` URL, or a remote URL. Nothing is ever fetched."""

from __future__ import annotations

import binascii
import re
from typing import NamedTuple

from lakehouse.chat.dialects.base import Quirks
from lakehouse.chat.model.parts import File
from lakehouse.core.errors import ErrBadRequest

DATA_URL = re.compile(
    r"data:(?P<media_type>[\w.+-]+/[\w.+-]+)(?:;[\w.+-]+=[^;,]*)*;base64,(?P<data>.*)", re.DOTALL | re.IGNORECASE
)


class Document(NamedTuple):
    """A document that the request itself carries: `application/pdf`, and base64 without a prefix."""

    media_type: str
    data: str
    decoded: bytes


def unplaced(message: int, part: int, kind: str, quirks: Quirks) -> ErrBadRequest:
    """The refusal of a part that a form has no place for."""
    where = f"messages[{message}].content[{part}]"
    return ErrBadRequest(f"`{where}` cannot be sent: {quirks.provider} takes no parts of type `{kind}`", field=where)


def is_remote(file: File) -> bool:
    """Whether a document is somewhere else."""
    return (file.file_data or "").lower().startswith(("https://", "http://"))


def document(file: File, where: str) -> Document:
    """What a `data:` URL carries; raises `ErrBadRequest` if it is none in base64."""
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
