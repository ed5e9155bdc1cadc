"""Fast path for whole responses that are relayed and hold text only.

Skips: decoding of a body, which repeats the request, into a dict, the inspection of its fields by `ResponseReader`, and
the second decode by which `relay.is_well_formed` finds whether clients can read it.

Equality with reader and check: `test_relayed_answers.test_it_reads_the_answers_of_reader_and_check` (a property over
documents and quirks). Bench table: `Relayed and rebuilt chats` (`python -m tools.bench --only forms`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lakehouse.chat.dialects.base import MAX_ANSWER
from lakehouse.chat.dialects.decoding.usage import Count, Details, select_details
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.answer import NO_SUPPLEMENTS, ProviderAnswer, Supplements
from lakehouse.chat.model.usage import Usage

_Empty = Annotated[list[None], Meta(max_length=0)] | None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: Count
    output_tokens: Count
    input_tokens_details: Details | None = None
    output_tokens_details: Details | None = None
    cost: None = None


class _Text(msgspec.Struct, gc=False):
    type: Literal["output_text"]
    text: str
    refusal: None = None
    annotations: _Empty = None
    logprobs: _Empty = None


class _Item(msgspec.Struct, gc=False):
    type: Literal["message"]
    content: list[_Text]


class _Response(msgspec.Struct, gc=False):
    id: str
    object: Literal["response"]
    status: Literal["completed"]
    model: str
    output: list[_Item]
    usage: _Usage
    type: None = None
    error: None = None
    cost: None = None
    service_tier: str | None = None
    system_fingerprint: None = None
    moderation: None = None
    citations: None = None
    search_results: None = None


_decode_struct = msgspec.json.Decoder(_Response).decode


def decode_relayed_text(body: bytes, quirks: Quirks) -> ProviderAnswer | None:
    """Return the answer in `body` if it holds text only and is well-formed; None: reader and check must read it."""
    if len(body) > MAX_ANSWER or quirks.inline_think != "never":
        return None
    try:
        response = _decode_struct(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    content = "".join([part.text for item in response.output for part in item.content])
    if not content:
        return None
    usage = response.usage
    read, written = usage.input_tokens_details or {}, usage.output_tokens_details or {}
    counts = Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=read.get("cached_tokens"),
        reasoning_tokens=written.get("reasoning_tokens"),
        input_details=select_details(read),
        output_details=select_details(written),
    )
    tier = response.service_tier
    supplements = Supplements(service_tier=tier) if tier else NO_SUPPLEMENTS
    return ProviderAnswer(content=content, finish_reason="stop", usage=counts, supplements=supplements)
