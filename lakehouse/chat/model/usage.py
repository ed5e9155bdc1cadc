"""What a call cost."""

from __future__ import annotations

import msgspec
from msgspec import UnsetType

from lakehouse.chat.model.parts import JsonObject


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens and US dollars as the provider counted them, None for what it did not count.

    `input_tokens` includes cached tokens, `output_tokens` includes reasoning tokens.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    input_details: JsonObject | None = None
    output_details: JsonObject | None = None

    @property
    def cache_write_tokens(self) -> int | None:
        """Tokens of the input that were written to the provider's cache."""
        return get_cache_write_tokens(self.input_details)


def get_cache_write_tokens(input_details: JsonObject | UnsetType | None) -> int | None:
    """The count of tokens written to the cache, which providers give among the details of the input."""
    written = (input_details or {}).get("cache_write_tokens")
    return written if isinstance(written, int) else None
