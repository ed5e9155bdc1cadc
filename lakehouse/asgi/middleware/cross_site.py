"""Which requests a web page has made behind the back of the person at the browser. Pure functions of headers.

A door without a token trusts whoever can reach it, and a browser on this machine can, on behalf of any page that it
shows: a page may POST wherever it likes (https://fetch.spec.whatwg.org/#cors-safelisted-request-header), may open a
WebSocket anywhere and read it, and with a name of its own that suddenly means 127.0.0.1 (DNS rebinding) it may read
everything. Programs that are no browsers send none of the headers that are looked at here, except `Host`, and are
asked nothing about that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address

_ITS_OWN = (b"same-origin", b"none")  # `none`: typed in, or a bookmark
_WEB = (b"http://", b"https://", b"null")  # what a page may have; `app://…` or `vscode-webview://…` is a program
_BROWSERS_SAY = frozenset({b"accept-language", b"origin", b"referer", b"sec-fetch-site"})
_PORT = re.compile(r":\d*$")
_PRIVATE = (".localhost", ".local", ".internal")


def is_cross_site(headers: Sequence[tuple[bytes, bytes]], *, reads: bool) -> bool:
    """Whether another site's page asks. Following a link is not asking: that is the person (`reads`: it is a GET).

    Browsers say so in `Sec-Fetch-Site`; those that do not, and WebSockets, in `Origin`, which is then not our `Host`.
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
    if origin and not origin.startswith(_WEB):
        return False
    if site:
        return site not in _ITS_OWN and not (reads and mode == b"navigate")
    return origin.partition(b"://")[2] != host


def may_be_browser(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether a browser may have sent this. Each names its languages, which a page can change but not leave out."""
    return any(name in _BROWSERS_SAY for name, _ in headers)


@lru_cache(maxsize=256)
def is_rebindable_host(host: bytes) -> bool:
    """Whether somebody on the Internet may own this name, and so have pointed it at us.

    Nobody owns addresses, `localhost`, names without a dot, and names in `.localhost`, `.local` and `.internal`.
    """
    name = _PORT.sub("", host.decode("latin-1")).rstrip(".").lower()
    if "." not in name or name.endswith(_PRIVATE):
        return False
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return True
    return False


@lru_cache(maxsize=256)
def is_loopback(address: str) -> bool:
    """Whether only this machine can have connected to this address of ours."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
