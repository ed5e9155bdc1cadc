"""Fast path for whole messages that are relayed and hold text only.

Skips: decoding of a body into a dict, the inspection of its fields by `MessagesReader`, and the second decode by which
`relay.is_well_formed` finds whether clients can read it.

Equality with reader and check: `test_relayed_answers.test_it_reads_the_answers_of_reader_and_check` (a property over
documents and quirks). Bench table: `Relayed and rebuilt chats` (`python -m tools.bench --only forms`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lakehouse.chat.dialects.base import MAX_ANSWER
from lakehouse.chat.dialects.decoding.usage import Count
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.answer import FinishReason, ProviderAnswer
from lakehouse.chat.model.usage import Usage

_Empty = Annotated[list[None], Meta(max_length=0)] | None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: Count
    output_tokens: Count
    cache_creation_input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None


class _Text(msgspec.Struct, gc=False):
    type: Literal["text"]
    text: str
    citations: _Empty = None


class _Message(msgspec.Struct, gc=False):
    id: Annotated[str, Meta(min_length=1)]
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[_Text]
    stop_reason: Literal["end_turn", "max_tokens"]
    usage: _Usage
    error: None = None
    object: None = None
    cost: None = None


_decode_struct = msgspec.json.Decoder(_Message).decode


def decode_relayed_text(body: bytes, quirks: Quirks) -> ProviderAnswer | None:
    """Return the answer in `body` if it holds text only and is well-formed; None: reader and check must read it."""
    if len(body) > MAX_ANSWER or quirks.inline_think != "never":
        return None
    try:
        message = _decode_struct(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    content, usage = "".join([block.text for block in message.content]), message.usage
    written, cached = usage.cache_creation_input_tokens, usage.cache_read_input_tokens
    total = usage.input_tokens + (written or 0) + (cached or 0)
    if not content or not total:
        return None
    finish_reason: FinishReason = "length" if message.stop_reason == "max_tokens" else "stop"
    details = None if written is None else {"cache_write_tokens": written}
    counts = Usage(input_tokens=total, output_tokens=usage.output_tokens, cached_tokens=cached, input_details=details)
    return ProviderAnswer(content=content, finish_reason=finish_reason, usage=counts)
