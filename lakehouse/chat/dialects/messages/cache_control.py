"""`cache_control` of the messages dialect: the hint that a provider may cache the prompt up to a block.

The hint stands on a block: a text, an image, a document, a call, a result or a tool. A hint of a whole message goes to
its last block.
"""

from __future__ import annotations

from lakehouse.chat.dialects.lenient_json import JsonObject

THINKING_BLOCKS = ("thinking", "redacted_thinking")
"""Types of blocks that carry thinking; the provider rejects a hint on them."""


def build_hint(cache_control: object) -> JsonObject:
    """Return the field of a block, empty without a hint."""
    return {"cache_control": cache_control} if isinstance(cache_control, dict) and cache_control else {}


def set_on_last_block(blocks: list[JsonObject], cache_control: JsonObject | None) -> list[JsonObject]:
    """Set the hint of a message on the last of its `blocks`, and return them."""
    if blocks and cache_control and blocks[-1]["type"] not in THINKING_BLOCKS:
        blocks[-1] = {**blocks[-1], "cache_control": cache_control}
    return blocks


def remove(block: JsonObject) -> JsonObject:
    """Return a block without its hint."""
    return {name: value for name, value in block.items() if name != "cache_control"}
