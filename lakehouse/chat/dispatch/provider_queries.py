"""Small requests to providers beside the chats: for lists, descriptions and probes."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import msgspec
import trio

from lakehouse.chat.dispatch.transport.interface import ProviderTransport
from lakehouse.chat.model.parts import JsonObject
from lakehouse.chat.providers.base import Provider
from lakehouse.core.provider_failures import make_failure

QUERY_TIMEOUT = 5.0
"""Seconds for the probe of one provider, or for its description of a model."""

MAX_DESCRIPTION = 4 * 1024 * 1024
"""Bytes of an Ollama's description of a model, in which its licence and its prompt template are."""

MAX_LISTING = 16 * 1024 * 1024
"""Bytes of a provider's list. OpenRouter's has half a megabyte."""


class ProviderQueries:
    """Sends queries over the transports of the providers."""

    def __init__(self, transports: Mapping[str, ProviderTransport]) -> None:
        self._transports = transports

    async def send(
        self, provider: Provider, method: bytes, path: str, body: bytes | None = None, *, deadline: float | None = None
    ) -> bytes:
        """Send a request and return its response's body. Without a deadline, it has `QUERY_TIMEOUT`.

        Raises a `LakehouseError` for anything but a response of status 200 in time.
        """
        started = trio.current_time()
        deadline = started + QUERY_TIMEOUT if deadline is None else deadline
        target = httpx.URL(provider.base_url + path).raw_path
        headers = (*provider.query_headers, *(((b"Content-Type", b"application/json"),) if body else ()))
        with trio.CancelScope(deadline=deadline):
            if provider.readiness is not None:
                await provider.readiness.wait_serving()
            transport = self._transports[provider.transport_name]
            async with await transport.request(method, target, headers, body) as response:
                if response.status != 200:
                    raise await response.read_error(secrets=provider.secrets)
                return await response.read(MAX_DESCRIPTION if body else MAX_LISTING, _ignore_progress)
        waited = deadline - started
        raise make_failure("timeout", f"{provider.name} did not answer within {waited:g} s", provider=provider.name)


def decode_object(body: bytes) -> JsonObject:
    """The JSON object in a body. Raises `upstream_error` for anything else."""
    try:
        return msgspec.json.decode(body, type=JsonObject)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise make_failure("upstream_error", "the answer of the provider is not a JSON object") from None


def _ignore_progress() -> None:
    """A list has no idle timeout."""
