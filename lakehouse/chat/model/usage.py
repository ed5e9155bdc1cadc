"""What a call cost."""

from __future__ import annotations

import msgspec

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
