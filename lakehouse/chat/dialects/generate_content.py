"""Google's generateContent, which this service does not support: the entry for models that are served by it alone."""

from __future__ import annotations

from typing import NoReturn

from lakehouse.chat.dialects.base import Dialect
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.core.provider_failures import make_failure


def _raise_unsupported(*_: object, quirks: Quirks, model: str = "this model", **__: object) -> NoReturn:
    message = (
        f"{model} of {quirks.provider} is served in Google's generateContent form only, which this service does not "
        "speak; the same model may be had in OpenAI's form from another provider (openrouter/google/…)"
    )
    raise make_failure("wrong_endpoint", message, provider=quirks.provider)


UNSUPPORTED_GENERATE_CONTENT = Dialect(
    form="generate_content",
    path="/models",
    framing="sse",
    json_modes=(),
    capabilities=frozenset(),
    encode=_raise_unsupported,
    decode=_raise_unsupported,
    make_parser=_raise_unsupported,
)
"""Every use raises `wrong_endpoint`, so that an attempt with such a model fails with a class and can fall back."""
