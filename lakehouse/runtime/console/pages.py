"""The two HTML documents of the console, and the headers that let a browser run them and nothing else.

`page.html` has comments of the form `include lake.js`: each is replaced by that file, so that the page is one document.
"""

from __future__ import annotations

from base64 import b64encode
from functools import cached_property
from hashlib import sha256
from importlib.resources import files
from re import DOTALL, findall, sub

from lakehouse.asgi.responses import Response

NO_STORE = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
"""Headers of every response of the console: it must not be stored, and its type must not be guessed."""

_HTML = b"text/html; charset=utf-8"

_INCLUDE = rb"(?:<!--|/\*|//) include ([a-z_]+\.[a-z]+)(?: -->| \*/|(?=\n))"
"""A comment of HTML, of CSS or of JavaScript."""


class StaticPages:
    """The responses with the documents, which are read from the package once, when needed."""

    @cached_property
    def page(self) -> Response:
        """The page itself."""
        return Response(self._page, headers=(*NO_STORE, *_csp_headers(self._page)), content_type=_HTML)

    @cached_property
    def sign_in(self) -> Response:
        """The sign-in form, with status 401.

        The page replaces the form once it is fetched: the policy allows the scripts and styles of both.
        """
        form = _read("sign_in.html")
        challenge = (b"www-authenticate", b'Bearer realm="lakehouse"')
        return Response(form, 401, (*NO_STORE, *_csp_headers(form, self._page), challenge), _HTML)

    @cached_property
    def _page(self) -> bytes:
        return sub(_INCLUDE, lambda comment: _read(comment[1].decode()), _read("page.html"))


def _csp_headers(*documents: bytes) -> list[tuple[bytes, bytes]]:
    """Headers that allow the scripts and styles in these documents, requests to this service, and nothing else."""
    scripts, styles = (
        b" ".join(
            b"'sha256-%b'" % b64encode(sha256(inline).digest())
            for document in documents
            for inline in findall(rb"<%b>(.*?)</%b>" % (element, element), document, DOTALL)
        )
        for element in (b"script", b"style")
    )
    policy = (
        b"default-src 'none'; script-src %b; style-src %b; connect-src 'self'; img-src data:; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ) % (scripts, styles)
    return [(b"content-security-policy", policy), (b"referrer-policy", b"no-referrer")]


def _read(name: str) -> bytes:
    return files("lakehouse.runtime.console").joinpath(name).read_bytes()
