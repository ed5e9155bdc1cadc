"""A chat request as its client wrote it, for providers that speak the client's form."""

from __future__ import annotations

from typing import Literal

import msgspec

ClientForm = Literal["chat_completions", "responses", "messages", "ollama"]
"""The dialects that are also forms of clients."""


ENVELOPE_PREFIX = "lakehouse-reasoning-1."
"""The beginning of strings in which a client carries reasoning for this service. No provider reads them."""


class RawRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a request, which was parsed without an error, and the headers that belong to its form.

    `headers` have lower-case names, and a name may repeat. `include_usage`: the client asked for the usage of a stream.
    """

    form: ClientForm
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    include_usage: bool = True
