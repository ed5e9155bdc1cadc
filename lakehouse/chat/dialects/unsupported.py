"""Google's generateContent, which this service does not speak."""

from __future__ import annotations

from typing import Literal, NoReturn

from lakehouse.chat.dialects.base import Capability, Changes, Quirks, SchemaLevel
from lakehouse.chat.model.request import Request
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import failure


class UnsupportedDialect:
    """Stands where a model is served in this form only, and says so: every use raises `wrong_endpoint`."""

    path = "/models"
    framing: Literal["sse", "ndjson"] = "sse"
    schema_steps: tuple[SchemaLevel, ...] = ()
    capabilities: frozenset[Capability] = frozenset()

    def encode(
        self,
        request: Request,  # noqa: ARG002
        *,
        model: str,
        stream: bool,  # noqa: ARG002
        quirks: Quirks,
        changes: Changes | None = None,  # noqa: ARG002
    ) -> NoReturn:
        """Raises `wrong_endpoint`."""
        raise _not_spoken(quirks, f"{model} of {quirks.provider}")

    def decode(self, body: bytes, *, quirks: Quirks) -> NoReturn:  # noqa: ARG002
        """Raises `wrong_endpoint`."""
        raise _not_spoken(quirks, f"this model of {quirks.provider}")

    def parser(self, *, quirks: Quirks) -> NoReturn:
        """Raises `wrong_endpoint`."""
        raise _not_spoken(quirks, f"this model of {quirks.provider}")


def _not_spoken(quirks: Quirks, model: str) -> LakehouseError:
    message = (
        f"{model} is served in Google's generateContent form only, which this service does not speak; "
        "the same model may be had in OpenAI's form from another provider (openrouter/google/…)"
    )
    return failure("wrong_endpoint", message, provider=quirks.provider)
