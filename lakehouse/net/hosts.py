"""Facts about host names and addresses. Pure functions."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address

_PORT = re.compile(r":\d*$")
_PRIVATE_SUFFIXES = (".localhost", ".local", ".internal")


@lru_cache(maxsize=256)
def is_rebindable_host(host: bytes) -> bool:
    """Whether the name in a `Host` header may be registered by anybody on the Internet, and so resolve to this machine.

    Addresses, `localhost`, names without a dot, and names in `.localhost`, `.local` and `.internal` cannot be.
    """
    name = _PORT.sub("", host.decode("latin-1")).rstrip(".").lower()
    if "." not in name or name.endswith(_PRIVATE_SUFFIXES):
        return False
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return True
    return False


@lru_cache(maxsize=256)
def is_loopback(address: str) -> bool:
    """Whether only this machine can connect to an address. False for a text that is not an address."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
