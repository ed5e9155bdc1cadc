"""Errors of the embedder with the names that the fields have in the request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lakehouse.core.errors import ErrBadRequest, ErrUnprocessable


@contextmanager
def renamed_fields(names: Mapping[str, str]) -> Iterator[None]:
    """Raise errors that name a field of the embedder, such as `texts[1]`, with its name in the request."""
    try:
        yield
    except (ErrBadRequest, ErrUnprocessable) as error:
        field, bracket, rest = (error.field or "").partition("[")
        if (name := names.get(field)) is None:
            raise
        message = error.message.replace(f"`{error.field}`", f"`{name}{bracket}{rest}`", 1)
        raise type(error)(message, field=name + bracket + rest, details=error.details) from None
