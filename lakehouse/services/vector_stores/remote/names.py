"""The names of collections, in characters that every store takes."""

from __future__ import annotations

import hashlib
import re

_OTHERS = re.compile(r"[^A-Za-z0-9_-]+")


def make_collection_name(prefix: str, index: str) -> str:
    """The collection of an index: its name as far as a store takes it, and a digest that no other index has."""
    digest = hashlib.blake2b(index.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{prefix}.{_OTHERS.sub('-', index)[:80]}.{digest}"
