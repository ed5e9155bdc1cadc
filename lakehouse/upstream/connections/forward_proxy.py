"""Forward proxies: choosing one from the environment, and a tunnel through it (CONNECT, RFC 9110, 9.3.6).

The variables have the meaning that curl and httpx give them: `https_proxy` and `http_proxy` by the scheme of the URL,
`all_proxy` for either, `no_proxy` for hosts that are reached directly; a lower-case name comes before its
upper-case form.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

import trio

from lakehouse.config.urls import redact, separate_credentials

MAX_HEAD = 16 * 1024
"""Bytes of the head of a proxy's response to CONNECT; an error page behind it is not read."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: ([^\r\n]*))?\r?\n")
_FAMILY = ("https_proxy", "http_proxy", "all_proxy")


class ProxyError(OSError):
    """The tunnel could not be made. The message names the proxy; `retryable` is true if another attempt may succeed."""

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


@dataclass(frozen=True, slots=True)
class ForwardProxy:
    """A proxy that is reached over plain HTTP. Its text form has no password."""

    hostname: str
    port: int
    authorization: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"http://{f'[{self.hostname}]' if ':' in self.hostname else self.hostname}:{self.port}"

    @classmethod
    def parse(cls, url: str) -> ForwardProxy:
        """Parse a URL. Raises ValueError with a clause to follow the name of a variable, without the password."""
        shown = redact(url)
        text = url if "://" in url else f"http://{url}"
        try:
            parts = urlsplit(text)
            hostname, port = parts.hostname, parts.port
        except ValueError:
            raise ValueError(f'is not the URL of a proxy (got "{shown}")') from None
        if parts.scheme != "http":
            raise ValueError(f'must be an http:// URL: proxies of {parts.scheme}:// are not supported (got "{shown}")')
        if not hostname or port == 0 or any(c.isspace() or ord(c) < 33 for c in text):
            raise ValueError(f'must have a host, and a port above zero (got "{shown}")')
        return cls(hostname, port or 80, separate_credentials(text).authorization)


class ForwardProxies:
    """The proxies of an environment."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._named = {name: _variable(env, name) for name in _FAMILY}
        _, exceptions = _variable(env, "no_proxy")
        self._exceptions = [entry for entry in re.split(r"[\s,]+", exceptions.strip().lower()) if entry]

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables that are set to a proxy, with the case that they have in the environment."""
        return tuple(variable for variable, value in self._named.values() if value)

    def problems(self) -> list[str]:
        """The problems of the proxies that would be used, one line for each variable."""
        found: dict[str, None] = {}
        for scheme in ("https", "http"):
            try:
                self._proxy(scheme)
            except ValueError as error:
                found[str(error)] = None
        return list(found)

    def find(self, url: str) -> ForwardProxy | None:
        """The proxy for a URL, None without one, or if `no_proxy` covers the host.

        Raises ValueError, whose message names the variable, for a proxy that cannot be used.
        """
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if any(_excepts(entry, parts.scheme, host, port) for entry in self._exceptions):
            return None
        return self._proxy(parts.scheme)

    def _proxy(self, scheme: str) -> ForwardProxy | None:
        variable, value = self._named[f"{scheme}_proxy"]
        if not value:
            variable, value = self._named["all_proxy"]
        try:
            return ForwardProxy.parse(value) if value else None
        except ValueError as error:
            raise ValueError(f"{variable} {error}") from None


def _variable(env: Mapping[str, str], name: str) -> tuple[str, str]:
    """A variable's name as it is set, and its value, empty if it is not set."""
    for written in (name, name.upper()):
        if written in env:
            return written, env[written].strip()
    return name.upper(), ""


def _excepts(entry: str, scheme: str, host: str, port: int) -> bool:
    """Whether an entry of `NO_PROXY` covers a host: `*`, a name with its subdomains, an address or a network, with a
    scheme before it or a port behind it."""
    if entry == "*":
        return True
    before, separator, rest = entry.rpartition("://")
    if separator and before not in (scheme, "all"):
        return False
    name, number = _split_port(rest)
    if number is not None and number != port:
        return False
    try:
        return ip_address(host.strip("[]")) in ip_network(name.strip("[]"), strict=False)
    except ValueError:
        pass
    name = name.removeprefix("*").strip(".")
    return name != "" and (host == name or host.endswith(f".{name}"))


def _split_port(entry: str) -> tuple[str, int | None]:
    name, colon, number = entry.rpartition(":")
    if colon and number.isdecimal() and (":" not in name or name.endswith("]")):
        return name, int(number)
    return entry, None


async def open_tunnel(sock: socket.socket, proxy: ForwardProxy, hostname: str, port: int) -> None:
    """Have the proxy at the other end of a non-blocking socket connect it to a host.

    Raises `ProxyError`. The caller keeps the socket, and closes it.
    """
    host = f"[{hostname}]" if ":" in hostname else hostname
    lines = [f"CONNECT {host}:{port} HTTP/1.1", f"Host: {host}:{port}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    try:
        await _send(sock, "".join(f"{line}\r\n" for line in (*lines, "")).encode())
        head = await _receive_head(sock)
    except ProxyError as error:
        raise ProxyError(f"the proxy {proxy} {error}") from None
    except OSError as error:
        raise ProxyError(f"the proxy {proxy} broke the connection: {error.strerror or error}") from error
    match = _STATUS_LINE.match(head)
    if match is None:
        raise ProxyError(f"the proxy {proxy} did not answer with HTTP")
    status = int(match[1])
    if not 200 <= status < 300:
        retryable = status >= 500 or status == 429
        reason = "".join(c for c in (match[2] or b"").decode("latin-1")[:80] if c.isprintable())
        raise ProxyError(f"the proxy {proxy} refused the connection: {status} {reason}".rstrip(), retryable=retryable)


async def _send(sock: socket.socket, data: bytes) -> None:
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)


async def _receive_head(sock: socket.socket) -> bytes:
    """The head of the response, and no byte behind it: those come from the host behind the proxy."""
    head = b""
    while True:
        try:
            seen = sock.recv(MAX_HEAD, socket.MSG_PEEK)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)
            continue
        if not seen:
            raise ProxyError("closed the connection")
        end = (head + seen).find(b"\r\n\r\n")
        wanted = len(seen) if end < 0 else end + 4 - len(head)
        head += sock.recv(wanted)
        if end >= 0:
            return head
        if len(head) > MAX_HEAD:
            raise ProxyError(f"answered with a head of more than {MAX_HEAD} bytes")
