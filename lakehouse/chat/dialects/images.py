"""Images on their way out: as URLs, or as the base64 data in them. Nothing is ever fetched."""

from __future__ import annotations

import binascii
import re
from typing import NamedTuple

from lakehouse.chat.dialects.base import Quirks
from lakehouse.chat.dialects.files import DATA_URL
from lakehouse.chat.model.parts import ImagePart, ImageUrl
from lakehouse.chat.model.request import Message
from lakehouse.core.errors import ErrBadRequest


class ImageData(NamedTuple):
    """An image that the request itself carries: `image/png`, and base64 without a prefix."""

    media_type: str
    data: str


def field(message: int, part: int) -> str:
    """How an error calls an image."""
    return f"messages[{message}].content[{part}].image_url.url"


def check(message: Message, position: int, quirks: Quirks) -> None:
    """Raises `ErrBadRequest` naming the first image that the provider cannot take."""
    for index, part in enumerate(message.content if isinstance(message.content, tuple) else ()):
        if isinstance(part, ImagePart):
            allow(part.image_url, where=field(position, index), quirks=quirks)


def allow(image: ImageUrl, *, where: str, quirks: Quirks) -> ImageData | None:
    """The data of a `data:` URL, or None for a remote one; raises `ErrBadRequest` for one that the provider cannot
    take."""
    if quirks.images == "none":
        raise ErrBadRequest(f"`{where}` cannot be sent: this model of {quirks.provider} takes no images")
    if image.url[:5].lower() == "data:":
        return data_of(image.url, where=where)
    if quirks.images == "data":
        raise ErrBadRequest(
            f"`{where}` is not a data URL: {quirks.provider} takes no remote images, and this service fetches none; "
            "send it as `data:image/png;base64,…`"
        )
    if not image.url.lower().startswith(("https://", "http://")):
        raise ErrBadRequest(f"`{where}` must be a data URL or an http(s) URL")
    return None


def data_of(url: str, *, where: str) -> ImageData:
    """What a `data:` URL carries; raises `ErrBadRequest` if it is no image in base64."""
    found = DATA_URL.fullmatch(url)
    if found is None or not found["media_type"].lower().startswith("image/"):
        raise ErrBadRequest(f"`{where}` is not an image in base64: `data:image/png;base64,…` is expected")
    data = re.sub(r"\s", "", found["data"])
    try:
        binascii.a2b_base64(data, strict_mode=True)
    except binascii.Error as error:
        raise ErrBadRequest(f"`{where}` does not carry valid base64: {error}") from None
    if not data:
        raise ErrBadRequest(f"`{where}` carries no data")
    return ImageData(found["media_type"].lower(), data)
