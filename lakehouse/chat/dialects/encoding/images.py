"""Images in requests: URLs, or the base64 data of `data:` URLs. Nothing is fetched."""

from __future__ import annotations

import binascii
import re
from typing import NamedTuple

from lakehouse.chat.dialects.encoding.files import DATA_URL
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.parts import ImagePart, ImageUrl
from lakehouse.chat.model.request import Message
from lakehouse.core.errors import ErrBadRequest


class ImageData(NamedTuple):
    """An image inside the request: `image/png`, and its base64 without a prefix."""

    media_type: str
    data: str


def format_field(message: int, part: int) -> str:
    """Return the name of an image's field in errors."""
    return f"messages[{message}].content[{part}].image_url.url"


def check_images(message: Message, position: int, quirks: Quirks) -> None:
    """Raise `ErrBadRequest` naming the first image of a message that the provider does not accept."""
    for index, part in enumerate(message.content if isinstance(message.content, tuple) else ()):
        if isinstance(part, ImagePart):
            parse_image(part.image_url, where=format_field(position, index), quirks=quirks)


def parse_image(image: ImageUrl, *, where: str, quirks: Quirks) -> ImageData | None:
    """Return the data of a `data:` URL, or None for a remote one; raises `ErrBadRequest` for an image that the provider
    does not accept."""
    if quirks.images == "none":
        raise ErrBadRequest(f"`{where}` cannot be sent: this model of {quirks.provider} takes no images", field=where)
    if image.url[:5].lower() == "data:":
        return parse_data_url(image.url, where=where)
    if quirks.images == "data":
        raise ErrBadRequest(
            f"`{where}` is not a data URL: {quirks.provider} takes no remote images, and this service fetches none; "
            "send it as `data:image/png;base64,…`",
            field=where,
        )
    if not image.url.lower().startswith(("https://", "http://")):
        raise ErrBadRequest(f"`{where}` must be a data URL or an http(s) URL", field=where)
    return None


def parse_data_url(url: str, *, where: str) -> ImageData:
    """Return the image of a `data:` URL; raises `ErrBadRequest` if it is not an image in valid base64."""
    found = DATA_URL.fullmatch(url)
    if found is None or not found["media_type"].lower().startswith("image/"):
        message = f"`{where}` is not an image in base64: `data:image/png;base64,…` is expected"
        raise ErrBadRequest(message, field=where)
    data = re.sub(r"\s", "", found["data"])
    try:
        binascii.a2b_base64(data, strict_mode=True)
    except binascii.Error as error:
        raise ErrBadRequest(f"`{where}` does not carry valid base64: {error}", field=where) from None
    if not data:
        raise ErrBadRequest(f"`{where}` carries no data", field=where)
    return ImageData(found["media_type"].lower(), data)
