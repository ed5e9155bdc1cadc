"""One worker of several: its orders come on standard input, one line on standard output says that it is ready.

Run by the supervisor as `python -m lakehouse.worker`. It drains on SIGTERM, and when its standard input ends, which
means that its parent is gone. SIGINT is the parent's business: a terminal sends it to both.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
from dataclasses import dataclass
from functools import partial

import trio

from lakehouse.config import Config
from lakehouse.edge.workers import READY


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """What a worker is told. `local_url` is where the embedded model answers, for the parent owns it."""

    config: Config
    descriptors: tuple[int, ...]
    index: int
    directory: str
    local_url: str | None

    def encode(self) -> bytes:
        """For the worker's standard input: from our own parent to us, never from a stranger."""
        return pickle.dumps(self)


def read_orders() -> Orders:
    """Wait for the orders."""
    length = int.from_bytes(sys.stdin.buffer.read(4), "big")
    orders = pickle.loads(sys.stdin.buffer.read(length))  # noqa: S301 - written by our parent, see `Orders.encode`
    if not isinstance(orders, Orders):
        raise TypeError("no orders on standard input: this program is run by `lakehouse serve --workers`")
    return orders
