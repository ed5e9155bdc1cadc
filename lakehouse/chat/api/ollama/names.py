"""Names of models in Ollama's form, which have a tag.

A name that is listed without a tag gets `:latest`, because clients add it themselves and then look for the result in
the list (Open WebUI). A request's `:latest` is removed again: to an Ollama both names are the same model.
"""

from __future__ import annotations

from lakehouse.chat.providers.model_router import LATEST
from lakehouse.core.errors import ErrBadRequest


def require_name(model: str | None, name: str | None) -> str:
    """The name that a request gives, as `model` or by the older word. Raises ErrBadRequest if it gives none."""
    given = model or name or ""
    if not given.removesuffix(LATEST).strip():
        raise ErrBadRequest("`model` is required", field="model")
    return given


def remove_tag(name: str) -> str:
    """The name of the model as the rest of the service knows it."""
    return name.removesuffix(LATEST)
