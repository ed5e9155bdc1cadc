"""One Trino server: requests to it over this service's own connections, with the retries of the protocol.

Requests go to the configured server alone, whatever a document names: a `nextUri` of another host is an error, and of
one on the same host only path and query are used. So no other host gets a request or the credentials.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlsplit

import msgspec
import trio

from lakehouse.config.query_engine_tables import TrinoTable
from lakehouse.core.errors import ErrUnavailable, ErrUpstream, LakehouseError
from lakehouse.services.engines.remote.secrets import Secrets
from lakehouse.services.engines.remote.trino.messages import NAME, Page
from lakehouse.services.engines.remote_child.loopback import is_loopback
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.http1.response import UpstreamResponse
from lakehouse.upstream.pool import Upstream

CONNECT_TIMEOUT, RESPONSE_TIMEOUT = 5.0, 30.0
"""Seconds. The server answers a request for a page that it has not got after one second."""
RETRIED = frozenset({429, 502, 503, 504})
"""Statuses after which a request is repeated."""
ATTEMPTS = 8
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds between two attempts: the first is what the protocol asks for, each further one twice as long."""
MAX_PAGE = 60 * 1024 * 1024
"""Bytes of a page. The server makes pages of `TARGET_SIZE`, and a single row may be larger."""
TARGET_SIZE = "4MB"

Headers = Sequence[tuple[bytes, bytes]]


class Coordinator:
    """A server. `close` closes its idle connections."""

    def __init__(self, table: TrinoTable, catalog: str) -> None:
        """`catalog` is that of names without one. Raises OSError, ssl.SSLError for `ca_file`."""
        context = ssl.create_default_context(cafile=table.ca_file) if table.ca_file else None
        self._upstream = Upstream(
            table.url,
            name=NAME,
            max_connections=table.max_queries * 2,  # a statement that is cancelled has a second request
            connect_timeout=CONNECT_TIMEOUT,
            response_timeout=RESPONSE_TIMEOUT,
            idle_timeout=RESPONSE_TIMEOUT,
            ssl_context=context,
        )
        self._table = table
        self._catalog = catalog
        self._base = self._upstream.base_path.decode().rstrip("/")
        parts = urlsplit(table.url)
        self._hostname = parts.hostname
        self._is_protected = parts.scheme == "https" or is_loopback(parts.hostname or "")

    def close(self) -> None:
        """Close the idle connections."""
        self._upstream.close()

    async def start(self, sql: str, secrets: Secrets, *, session: Mapping[str, str], tag: str) -> Page:
        """Post a statement. It runs with the request for its next page. Raises LakehouseError."""
        headers = [*self.make_authorization(secrets), *self._describe(session, tag)]
        return await self._request(b"POST", f"{self._base}/v1/statement", headers, sql.encode())

    async def fetch(self, uri: str, secrets: Secrets) -> Page:
        """Fetch a page. Raises LakehouseError."""
        target = self._find_target(uri)
        target += ("&" if "?" in target else "?") + f"targetResultSize={TARGET_SIZE}"
        return await self._request(b"GET", target, self.make_authorization(secrets))

    async def cancel(self, uri: str, secrets: Secrets) -> None:
        """Cancel the statement whose next page this is. Raises LakehouseError if the server refuses it."""
        request = UpstreamRequest(b"DELETE", self._find_target(uri).encode(), self.make_authorization(secrets))
        with await self._upstream.send(request) as response:
            if response.status >= 400:
                raise _status_error(response.status, b"")

    async def read_info(self) -> bytes:
        """The document that has the server's version. Raises LakehouseError."""
        request = UpstreamRequest(b"GET", f"{self._base}/v1/info".encode(), [(b"accept", b"application/json")])
        with await self._upstream.send(request) as response:
            body = await _read(response)
            if response.status != 200:
                raise _status_error(response.status, body)
            return body

    async def _request(self, method: bytes, target: str, headers: Headers, body: bytes = b"") -> Page:
        """Send a request, again after the statuses of `RETRIED`, up to `ATTEMPTS` times.

        The request for a page is also sent again after a broken connection: the server keeps a page until the next one.
        """
        request = UpstreamRequest(method, target.encode(), headers, body)
        pause = FIRST_PAUSE
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            try:
                with await self._upstream.send(request) as response:
                    if response.status not in RETRIED or last:
                        return _decode(response.status, await _read(response))
                    wait = max(pause, _read_retry_after(response.headers))
            except ErrUpstream as error:
                if last or not error.retryable or method == b"POST":  # there is no statement yet that could be lost
                    raise
                wait = pause
            await trio.sleep(min(wait, LONGEST_PAUSE))
            pause *= 2
        raise AssertionError("the last attempt returns or raises")  # pragma: no cover

    def make_authorization(self, secrets: Secrets) -> list[tuple[bytes, bytes]]:
        """The user, and the secrets. Raises ErrUpstream where they would leave this machine without TLS."""
        user = self._table.user
        if (secrets.token or secrets.password) and not self._is_protected:
            raise ErrUpstream(
                "TRINO_PASSWORD and TRINO_TOKEN are not sent without TLS to another machine: queryd.trino.url must be"
                " https://",
                provider=NAME,
            )
        headers = [(b"x-trino-user", user.encode())]
        if secrets.token:
            headers.append((b"authorization", f"Bearer {secrets.token}".encode()))
        elif secrets.password:
            encoded = base64.b64encode(f"{user}:{secrets.password}".encode())
            headers.append((b"authorization", b"Basic " + encoded))
        return headers

    def _describe(self, session: Mapping[str, str], tag: str) -> list[tuple[bytes, bytes]]:
        """What the statement runs with. The capability makes the server send times with all their digits."""
        headers = [
            (b"x-trino-source", b"lakehouse"),
            (b"x-trino-catalog", self._catalog.encode()),
            (b"x-trino-schema", self._table.schema.encode()),
            (b"x-trino-time-zone", b"UTC"),
            (b"x-trino-client-tags", tag.encode()),
            (b"x-trino-client-capabilities", b"PARAMETRIC_DATETIME"),
            (b"content-type", b"text/plain; charset=utf-8"),
        ]
        if session:
            listed = ",".join(f"{name}={quote(value, safe='')}" for name, value in session.items())
            headers.append((b"x-trino-session", listed.encode()))
        return headers

    def _find_target(self, uri: str) -> str:
        """Path and query of a `nextUri`. Raises ErrUpstream for one of another host, or of another resource."""
        parts = urlsplit(uri)
        if parts.hostname != self._hostname:
            raise ErrUpstream(
                f"{NAME} named another host for the next page, {parts.hostname}: nothing was sent to it. Behind a"
                " proxy, set http-server.process-forwarded=true",
                provider=NAME,
            )
        if not parts.path.startswith(f"{self._base}/v1/statement/"):
            raise ErrUpstream(f"{NAME} named another path for the next page, {parts.path[:200]}", provider=NAME)
        return parts.path + (f"?{parts.query}" if parts.query else "")


async def _read(response: UpstreamResponse) -> bytes:
    body = bytearray()
    while piece := await response.receive():
        body += piece
        if len(body) > MAX_PAGE:
            raise ErrUpstream(f"{NAME} sent a page of more than {MAX_PAGE} bytes", provider=NAME)
    return bytes(body)


def _decode(status: int, body: bytes) -> Page:
    if status != 200:
        raise _status_error(status, body)
    try:
        return msgspec.json.decode(body, type=Page)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ErrUpstream(f"{NAME} sent a document that cannot be read: {error}", provider=NAME) from None


def _status_error(status: int, body: bytes) -> LakehouseError:
    """The error for a status that the protocol does not foresee."""
    text = body[:300].decode("utf-8", "replace").strip()
    said = f": {text}" if text and "<" not in text else ""
    if status in (401, 403):
        return ErrUpstream(
            f"{NAME} refused the user or the credentials ({status}): see queryd.trino.user, and TRINO_PASSWORD or"
            f" TRINO_TOKEN of queryd.key_file{said}",
            provider=NAME,
            upstream_status=status,
        )
    if status in RETRIED:
        return ErrUnavailable(
            f"{NAME} answered {status} {ATTEMPTS} times",
            provider=NAME,
            upstream_status=status,
            retryable=True,
            retry_after=2.0,
        )
    return ErrUpstream(f"{NAME} answered {status}{said}", provider=NAME, upstream_status=status)


def _read_retry_after(headers: Headers) -> float:
    value = next((value for name, value in headers if name.lower() == b"retry-after"), b"")
    return float(value) if value.isdigit() else 0.0
