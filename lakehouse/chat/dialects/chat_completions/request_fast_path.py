"""Fast path for requests in which nothing has to be converted: each message is a role and a text.

Skips: the layers of fields of `encode_body`, and the inspection of tools, thinking, JSON modes, extra fields and
earlier reasoning. A request with any of these, and quirks that add or rename fields, are left to `encode_full`.

Equality with the full encoder: `test_request_fast_path.test_it_writes_the_same_body_as_the_full_encoder` (a property
over requests and quirks). Budget line: `whole chat` (`python -m tools.bench.budget`).
"""

from __future__ import annotations

import msgspec

from lakehouse.chat.dialects.chat_completions.conversation import is_plain
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.request import Message, OpenAIRequest, Request


class _StreamOptions(msgspec.Struct):
    include_usage: bool


class _Body(msgspec.Struct, omit_defaults=True):
    """The fields in the order in which `encode_full` writes them."""

    model: str
    messages: tuple[Message, ...]
    stream: bool
    stream_options: _StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: str | tuple[str, ...] | None = None
    seed: int | None = None
    user: str | None = None


_INCLUDE_USAGE = _StreamOptions(include_usage=True)
_encode = msgspec.json.Encoder().encode


def encode_text_only(request: Request, *, model: str, stream: bool, quirks: Quirks) -> bytes | None:
    """Return the body of a request without anything to convert; None: `encode_full` must encode it."""
    if (
        request.tools is not None
        or request.tool_choice is not None
        or request.format is not None
        or request.think is not None
        or request.options is not None
        or (isinstance(request, OpenAIRequest) and request.extra)
        or not _writes_fields_unchanged(quirks)
        or not all(map(is_plain, request.messages))
    ):
        return None
    return _encode(
        _Body(
            model,
            request.messages,
            stream,
            _INCLUDE_USAGE if stream and quirks.include_usage else None,
            request.temperature,
            request.top_p,
            request.max_tokens or quirks.default_max_tokens,
            request.stop,
            request.seed,
            request.user,
        )
    )


def _writes_fields_unchanged(quirks: Quirks) -> bool:
    """Return whether the fields of `_Body` are sent under these names, and no others."""
    return (
        quirks.send_temperature
        and quirks.send_user
        and quirks.default_think is None
        and quirks.max_tokens_field == "max_tokens"
        and not quirks.extra_body
    )
