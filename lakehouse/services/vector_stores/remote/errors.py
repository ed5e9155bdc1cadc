"""What both servers refuse, as errors of the service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lakehouse.services.contracts.vector_store import make_not_found
from lakehouse.services.vector_stores.remote.client import Refused, StoreClient


@contextmanager
def translate_refusals(client: StoreClient, index: str = "") -> Iterator[None]:
    """Raise ErrUpstream for what the server refuses, and ErrNotFound for 404 if the block is about one index."""
    try:
        yield
    except Refused as refused:
        if refused.status == 404 and index:
            raise make_not_found(index) from None
        raise client.make_error(f"refused a request ({refused.status}: {refused})", refused.status) from None
