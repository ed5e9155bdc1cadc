"""Readers of single values of the configuration: durations, sizes, addresses, URLs, networks.

Each function takes a value of the TOML document and returns the converted value. For an invalid one it raises
ValueError with a clause that follows the name of the key: ``must include scheme and host (got "127.0.0.1:3211")``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import urlsplit

from lakehouse.config.files import expand_home
from lakehouse.config.urls import MAX_SOCKET_PATH, UNIX_SCHEME, BaseURL, redact, separate_credentials, socket_path

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|KiB|MiB|GiB)?")
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

Network = IPv4Network | IPv6Network


class InvalidEntries(ValueError):
    """Some entries of a table are invalid: `problems` has a clause for each, `valid` the other entries."""

    def __init__(self, problems: dict[str, str], valid: Mapping[str, object]) -> None:
        super().__init__(f"has invalid entries: {', '.join(problems)}")
        self.problems = problems
        self.valid = valid


class Address(NamedTuple):
    """A listening address. Port 0 lets the system choose a free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect to it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def quoted(value: object) -> str:
    """A value as it stands in the file, for an error message."""
    return f'"{value}"' if isinstance(value, str) else repr(value)


_KINDS: Mapping[type, str] = {str: "a string", list: "a list", dict: "a table"}


def name_kind(value: object) -> str:
    """What a value is, for an error message that must not repeat it: it may have a secret in it."""
    return _KINDS.get(type(value)) or quoted(value)


def duration(value: object) -> float:
    """A number of seconds, or a string such as ``"500ms"``, ``"30s"``, ``"2m"``, as seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        return float(match[1]) * _SECONDS[match[2]]
    raise ValueError(f'must be a number of seconds or a duration such as "500ms", "30s" or "2m" (got {quoted(value)})')


def positive_duration(value: object) -> float:
    """A duration that is not zero, in seconds."""
    seconds = duration(value)
    if not seconds:
        raise ValueError(f"must be longer than zero (got {quoted(value)})")
    return seconds


def optional_duration(value: object) -> float | None:
    """A duration in seconds, or None for an empty string, which means off."""
    return None if value == "" else duration(value)


def disconnect(value: object) -> float | None:
    """``"cancel"`` (None), or the seconds of reading on after the client has disconnected."""
    if value == "cancel":
        return None
    try:
        return duration(value)
    except ValueError:
        raise ValueError(f'must be "cancel" or a duration such as "10s" (got {quoted(value)})') from None


def size(value: object) -> int:
    """A number of bytes, or a string such as ``"8MB"`` or ``"8MiB"``, as bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        count = int(float(match[1]) * _BYTES[match[2] or "B"])
        if count > 0:
            return count
    raise ValueError(f'must be a number of bytes above zero or a size such as "8MB" (got {quoted(value)})')


_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def memory(value: object) -> str:
    """A size as text, or a share of the machine's memory such as ``"50%"``: from 1 to 100 %."""
    if isinstance(value, str) and (match := _SHARE.fullmatch(value.strip())) and 1 <= float(match[1]) <= 100:
        return f"{float(match[1]):g}%"
    try:
        return str(size(value))
    except ValueError:
        raise ValueError(
            f'must be a size such as "2GB", or a share of the memory from "1%" to "100%" (got {quoted(value)})'
        ) from None


def ignored(_value: object) -> str:
    """Any value, which has no meaning here."""
    return ""


def count(value: object) -> int:
    """A whole number that is not negative."""
    return _whole_number(value, minimum=0)


def positive_count(value: object) -> int:
    """A whole number above zero."""
    return _whole_number(value, minimum=1)


def repetitions(value: object) -> int:
    """0, which means off, or a number of repetitions, of which one is none."""
    return _whole_number(value, minimum=2) if value else _whole_number(value, minimum=0)


def amount(value: object) -> float:
    """An amount of money that is not negative."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    raise ValueError(f"must be a number that is not negative (got {quoted(value)})")


def _whole_number(value: object, *, minimum: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"must be a whole number (got {quoted(value)})")
    if value < minimum:
        raise ValueError(f"must be at least {minimum} (got {value})")
    return value


def ratio(value: object) -> float:
    """A number from 0 to 1."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise ValueError(f"must be a number from 0 to 1 (got {quoted(value)})")


def url(value: object) -> BaseURL:
    """An http or https URL with scheme and host, without query and fragment; a trailing slash is removed.

    A user and a password in it are percent-decoded into `authorization` and removed from the text.
    """
    if isinstance(value, BaseURL):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError(f"must include scheme and host (got {quoted(value) if value == '' else name_kind(value)})")
    shown = quoted(redact(value))
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        why = "check the port, and percent-encode the password" if "@" in value else str(error)
        raise ValueError(f"is not a URL: {why} (got {shown})") from None
    if not parts.scheme or not host or "://" not in value or any(c.isspace() or ord(c) < 33 for c in value):
        raise ValueError(f"must include scheme and host (got {shown})")
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"must have the scheme http or https (got {shown})")
    if port == 0:
        raise ValueError(f"must have a port above zero (got {shown})")
    if parts.query or parts.fragment:
        raise ValueError(f"must not have a query or fragment (got {shown})")
    return separate_credentials(value)


def optional_url(value: object) -> str:
    """A URL, or an empty string."""
    return "" if value == "" else url(value)


EMBEDDED = "embedded"
"""The value in place of a service's URL with which the service runs in the services process."""


def service_url(value: object) -> str:
    """An http or https URL, ``unix:/path`` for HTTP over a Unix socket, or ``"embedded"``."""
    return EMBEDDED if value == EMBEDDED else remote_service_url(value)


def remote_service_url(value: object) -> BaseURL:
    """An http or https URL, or ``unix:/path`` for HTTP over a Unix socket."""
    if not isinstance(value, str) or not value.startswith(UNIX_SCHEME):
        return url(value)
    place = socket_path(value)
    if not place.startswith("/") or place.startswith("//") or place.endswith("/"):
        raise ValueError(
            f'must have the absolute path of a socket, as in "unix:/run/lakehouse.sock" (got {quoted(value)})'
        )
    if any(ord(character) < 33 or character in "?#" for character in place):
        raise ValueError(f"must have a path without spaces, `?` and `#` (got {quoted(value)})")
    if len(place.encode()) > MAX_SOCKET_PATH:
        raise ValueError(
            f"must have a path of at most {MAX_SOCKET_PATH} bytes, as any Unix socket (got {quoted(value)})"
        )
    return separate_credentials(value)


def optional_service_url(value: object) -> str:
    """A service's URL, or an empty string."""
    return "" if value == "" else remote_service_url(value)


def path(value: object) -> str:
    """The path of a file, or an empty string; `~` and `~user` are expanded."""
    if not isinstance(value, str):
        raise ValueError(f"must be a string (got {quoted(value)})")
    return expand_home(value)


_ORIGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(\[[0-9A-Fa-f:.]+\]|[^\[\]/?#@:\s\\*,<>]+)(?::(\d{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def origin(value: str) -> str:
    """A web origin as browsers write it: scheme and host in lower case, no default port.

    Raises ValueError for what is not ``scheme://host[:port]``.
    """
    match = _ORIGIN.fullmatch(value)
    if match is None:
        raise ValueError("is not an origin")
    scheme, host, port = match[1].lower(), match[2].lower(), match[3]
    if not host.isascii():
        host = host.encode("idna").decode()  # UnicodeError is a ValueError
    number = None if port is None else int(port)
    if number is not None and not 0 < number < 65536:
        raise ValueError("is not an origin")
    return f"{scheme}://{host}" + ("" if number in (None, _DEFAULT_PORTS.get(scheme)) else f":{number}")


def origins(value: object) -> tuple[str, ...]:
    """A list of web origins, such as ``["https://app.example"]``."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f'must be a list of web origins such as ["https://app.example"] (got {quoted(value)})')
    found = []
    for item in value:
        try:
            found.append(origin(item))
        except ValueError:
            raise ValueError(f"must be a list of web origins: {_explain_invalid_origin(item)}") from None
    return tuple(dict.fromkeys(found))


def _explain_invalid_origin(item: str) -> str:
    shown = quoted(redact(item))
    if item == "*":
        return f"{shown} would let the pages of every site in: name each origin"
    if item.lower() == "null":
        return f"{shown} is the origin of every sandboxed page and local file: name each origin"
    return f"{shown} must be scheme://host or scheme://host:port, without a user, a path or a slash at its end"


def address(value: object) -> Address:
    """``HOST:PORT``, ``:PORT`` for all interfaces, or ``[IPv6]:PORT``."""
    if not isinstance(value, str):
        raise ValueError(f'must be a string "HOST:PORT" (got {quoted(value)})')
    host, colon, port = value.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535 or (":" in host and not bracketed):
        raise ValueError(f'must be "HOST:PORT" with a port from 0 to 65535 (got {quoted(value)})')
    try:
        host.encode("idna" if not host.isascii() else "ascii")
    except UnicodeError:
        raise ValueError(f"must have a host name that can be looked up (got {quoted(value)})") from None
    return Address(host[1:-1] if bracketed else host or "0.0.0.0", int(port))  # noqa: S104 - the usual meaning of ":PORT"; such an address requires a token


def optional_address(value: object) -> Address | None:
    """An address, or None for an empty string."""
    return None if value == "" else address(value)


def header(value: object) -> str:
    """The value of an HTTP header, or an empty string; white space around it is removed."""
    if not isinstance(value, str):
        raise ValueError(f"must be a string (got {name_kind(value)})")
    if any(ord(character) < 32 or ord(character) == 127 for character in value.strip()):
        raise ValueError("must be fit for a header: it has a line break or another control character in it")
    return value.strip()


def networks(value: object) -> tuple[Network, ...]:
    """A list of networks in CIDR notation; an address without a prefix length is a network of one address."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f'must be a list of networks such as ["10.0.0.0/8"] (got {quoted(value)})')
    found = []
    for item in value:
        try:
            found.append(ip_network(item))
        except ValueError as error:
            raise ValueError(f"must be a list of networks: {error}") from None
    return tuple(found)


def chain(value: object) -> tuple[str, ...]:
    """A model's name, or a list of names to try in order."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(f"must be a model's name or a list of names (got {quoted(value)})")
    return tuple(names)


def tiers(value: object) -> dict[str, tuple[str, ...]]:
    """A table of chains. Raises InvalidEntries."""
    if not isinstance(value, dict):
        raise ValueError(f"must be a table (got {quoted(value)})")
    chains: dict[str, tuple[str, ...]] = {}
    problems: dict[str, str] = {}
    for name, names in value.items():
        try:
            chains[name] = chain(names)
        except ValueError as error:
            problems[name] = str(error)
    if problems:
        raise InvalidEntries(problems, chains)
    return chains
