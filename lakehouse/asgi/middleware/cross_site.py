"""Recognises requests that a web page makes without the user's knowledge. Pure functions of headers.

A service without a token accepts every request that reaches it, and a browser on this machine connects on behalf of
every page that it shows. A page may POST anywhere (https://fetch.spec.whatwg.org/#cors-safelisted-request-header), may
open a WebSocket to any host and read it, and may read every response when its own host name resolves to 127.0.0.1 (DNS
rebinding). Programs other than browsers send none of the headers that are examined here, except `Host`.
"""

from __future__ import annotations

from collections.abc import Sequence

_SAME_SITE = (b"same-origin", b"none")  # `none`: a typed address, or a bookmark
_PAGE_ORIGINS = (
    b"http://",
    b"https://",
    b"null",
)  # origins of web pages; `app://…` and `vscode-webview://…` are programs
_BROWSER_HEADERS = frozenset({b"accept-language", b"origin", b"referer", b"sec-fetch-site"})


def is_cross_site(headers: Sequence[tuple[bytes, bytes]], *, reads: bool) -> bool:
    """Whether a page of another site makes the request; `reads` is true for GET and HEAD.

    Following a link does not count, because the user does that. Browsers send `Sec-Fetch-Site`; those that do not, and
    WebSockets, send `Origin`, which then differs from `Host`.
    """
    site = origin = mode = b""
    host = None
    for name, value in headers:
        if name == b"sec-fetch-site":
            site = value
        elif name == b"origin":
            origin = value
        elif name == b"sec-fetch-mode":
            mode = value
        elif name == b"host":
            host = value
    if not site and not origin:
        return False
    if origin and not origin.startswith(_PAGE_ORIGINS):
        return False
    if site:
        return site not in _SAME_SITE and not (reads and mode == b"navigate")
    return origin.partition(b"://")[2] != host


def may_be_browser(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether a browser may have sent these headers. A page can change `Accept-Language`, but not remove it."""
    return any(name in _BROWSER_HEADERS for name, _ in headers)
