"""Membership of a peer's address in a set of networks."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


class Networks:
    """A set of networks: ``"192.0.2.7" in networks``.

    An IPv4-mapped IPv6 address (``::ffff:192.0.2.7``) counts as IPv4. A text that is not an address is in none
    of the networks.
    """

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._networks = tuple(networks)
        self._look_up = lru_cache(maxsize=1024)(self._is_inside)  # most requests come from the same few peers

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, host: str) -> bool:
        return bool(self._networks) and self._look_up(host)

    def _is_inside(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)
