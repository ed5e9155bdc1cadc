"""URLs of the configuration. User and password are removed from their text and kept separately."""

from __future__ import annotations

import base64
import re
from typing import Self
from urllib.parse import unquote_to_bytes, urlsplit

SHORTEST_SECRET = 4
"""Characters. A shorter password is not redacted from the texts of an upstream: ordinary words would contain it."""

UNIX_SCHEME = "unix:"
MAX_SOCKET_PATH = 107
"""Bytes of the path of a Unix socket (unix(7), `sun_path`)."""

_QUERY = re.compile(r"([?#]).+", re.DOTALL)
_USER_INFO = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*:/+)?.*@", re.DOTALL)


class BaseURL(str):
    """A URL without user and password: its text is safe to log.

    `authorization` is the value of the `Authorization` header for its user and password (RFC 7617), empty if the URL
    has none. `secrets` are the texts that must be redacted.
    """

    __slots__ = ("authorization", "secrets")
    authorization: str
    secrets: tuple[str, ...]

    def __new__(cls, text: str, authorization: str = "", secrets: tuple[str, ...] = ()) -> Self:
        """`text` must have no user or password in it."""
        made = super().__new__(cls, text)
        made.authorization = authorization
        made.secrets = secrets
        return made


def separate_credentials(url: str) -> BaseURL:
    """Remove user and password, and a trailing slash, from a URL.

    Raises ValueError, whose text does not contain the password, for an invalid URL and for a user or password that the
    Basic scheme cannot encode.
    """
    if isinstance(url, BaseURL):
        return url
    if socket_path(url):
        return BaseURL(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"{redact(url)!r} is not a URL") from None
    if "@" not in parts.netloc:
        return BaseURL(url.rstrip("/"))
    user_info, _, host = parts.netloc.rpartition("@")
    user, _, password = user_info.partition(":")
    text = parts._replace(netloc=host).geturl().rstrip("/")
    if not user and not password:
        return BaseURL(text)
    authorization, secrets = encode_basic_credentials(user, password)
    return BaseURL(text, authorization, secrets)


def socket_path(url: str) -> str:
    """The path of a `unix:/path/of/a/socket` URL (HTTP over a Unix socket); an empty string for any other URL."""
    return url.removeprefix(UNIX_SCHEME) if url.startswith(UNIX_SCHEME) else ""


def encode_basic_credentials(user: str, password: str) -> tuple[str, tuple[str, ...]]:
    """The `Basic` credentials of a percent-encoded user and password, and the texts of them that must be redacted.

    Raises ValueError for characters that RFC 7617 does not allow.
    """
    name, word = unquote_to_bytes(user), unquote_to_bytes(password)
    if b":" in name:
        raise ValueError("must have a user name without a colon (Basic authentication ends the name there)")
    if any(byte < 32 or byte == 127 for byte in name + word):
        raise ValueError("must have a user name and a password without control characters")
    encoded = base64.b64encode(name + b":" + word).decode()
    known = (encoded, word.decode("utf-8", "replace"), password)
    return f"Basic {encoded}", tuple(dict.fromkeys(text for text in known if len(text) >= SHORTEST_SECRET))


def redact(url: str) -> str:
    """A URL, valid or not, for an error message: all that may be a user, a password or a key is replaced."""
    return _QUERY.sub(r"\1***", _USER_INFO.sub(r"\1***@", url))
