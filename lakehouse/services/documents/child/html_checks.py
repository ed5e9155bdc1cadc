"""Cheap checks of HTML before it is parsed: nesting and attributes on which a parser spends quadratic time.

They look at the bytes of tags only, and are no parser: what they miss meets the limit of processor time.
"""

from __future__ import annotations

import re

from lakehouse.services.documents.child.errors import unprocessable

MAX_DEPTH = 1000
MAX_ATTRIBUTES = 2000
LONG_TAG = 4096
"""Characters from which on the attributes of a tag are counted."""


def names(text: str) -> frozenset[str]:
    """The names of elements in a text."""
    return frozenset(text.split())


_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]{0,40})")
_LONG_TAGS = (
    re.compile(rf"<[a-zA-Z][^>]{{{LONG_TAG},}}"),
    re.compile(r"""<[a-zA-Z](?:[^"'>]++|"[^"]*+"|'[^']*+')*+"""),  # where a quoted value has a >
)
_QUOTED = re.compile(r"""=\s*(?:"[^"]*"|'[^']*')""")
_SEPARATOR = re.compile(r"[\s/]+")
_UNCOUNTED = names(
    "area base br col embed hr img input link meta param source track wbr "  # have no end
    "p li dt dd tr td th thead tbody tfoot colgroup caption option optgroup rb rp rt rtc html head body"
)
"""Elements without an end tag, and those whose end tag may be left out, which do not nest by themselves."""


def check_html(text: str) -> None:
    """Raise the error 422 for HTML that is nested too deeply, or that has a tag with too many attributes."""
    depth = 0
    for end, name in _TAG.findall(text):
        if name.lower() in _UNCOUNTED:
            continue
        depth = max(0, depth - 1) if end else depth + 1
        if depth > MAX_DEPTH:
            raise unprocessable(f"the HTML is nested more than {MAX_DEPTH} elements deep")
    for pattern in _LONG_TAGS:
        if any(_has_many_attributes(tag.group()) for tag in pattern.finditer(text)):
            raise unprocessable(f"the HTML has a tag with more than {MAX_ATTRIBUTES} attributes")


def _has_many_attributes(tag: str) -> bool:
    return len(tag) >= LONG_TAG and len(_SEPARATOR.findall(_QUOTED.sub("=", tag))) > MAX_ATTRIBUTES
