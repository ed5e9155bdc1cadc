"""Bytes to text: UTF-8, else what the mark at the beginning says, else Windows-1252. Nothing is replaced."""

from __future__ import annotations

import codecs

from lakehouse.services.documents.child.errors import bad_request, unprocessable

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins like the mark of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
FALLBACK = "cp1252"
FALLBACK_WARNING = "the text is not UTF-8: it was read as Windows-1252"


def decode_text(content: bytes, encoding: str, *, declared: str = "") -> tuple[str, list[str]]:
    """The text of a file without its mark, and warnings. Raises the errors 400 and 422.

    `declared` is an encoding that the file names itself; it is used if there is no mark and the text is not UTF-8.
    """
    warnings: list[str] = []
    if encoding:
        text = _decode(content, _find_codec(encoding))
    elif mark := next(((mark, name) for mark, name in MARKS if content.startswith(mark)), None):
        text = _decode(content[len(mark[0]) :], mark[1], offset=len(mark[0]))
    else:
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            text = _decode(content, declared or FALLBACK)
            if not declared:
                warnings.append(FALLBACK_WARNING)
    if (position := text.find("\0")) >= 0:
        raise unprocessable("the file is not text: it has a NUL character", offset=position)
    return text.removeprefix("\ufeff"), warnings


def find_declared(name: str) -> str:
    """The codec of an encoding that a file names; "" if there is none of that name, or it is not one of text."""
    try:
        return _find_codec(name)
    except ValueError:
        return ""


class UnknownEncoding(ValueError):
    """The name is not one of an encoding of text."""


def _find_codec(name: str) -> str:
    try:
        info = codecs.lookup(name)
        if not getattr(info, "_is_text_encoding", True):
            raise LookupError
        b"".decode(info.name)
    except (LookupError, UnicodeError, ValueError):
        raise UnknownEncoding(name) from None
    return info.name


def _decode(content: bytes, codec: str, *, offset: int = 0) -> str:
    try:
        text = content.decode(codec)
        text.encode("utf-8")
    except UnicodeDecodeError as error:
        raise unprocessable(
            f"the file is not text in {codec}: byte {offset + error.start} cannot be decoded; `encoding` names another",
            offset=offset + error.start,
        ) from None
    except UnicodeEncodeError:  # some decoders let a lone surrogate through
        raise unprocessable(f"the file is not text in {codec}: it has a surrogate without its partner") from None
    return text


def check_encoding(encoding: str) -> None:
    """Raise the error 400 for a parameter `encoding` that names no encoding of text."""
    if encoding:
        try:
            _find_codec(encoding)
        except UnknownEncoding:
            raise bad_request(f"`encoding`: {encoding[:80]!r} is not the name of an encoding", "encoding") from None
