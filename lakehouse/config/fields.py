"""Fields of the configuration's tables whose TOML values need a reader, or have no meaning here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Any

from lakehouse.config import values


def parsed_field(reader: Callable[[object], object], default: object) -> Any:  # noqa: ANN401 - as dataclasses.field itself
    """A field whose TOML value is read by `reader`."""
    return field(default=default, metadata={"reader": reader})


def parsed_mapping(reader: Callable[[object], object]) -> Any:  # noqa: ANN401
    """A field for a table with keys of the user's, empty by default, that is read by `reader`."""
    return field(default_factory=dict, metadata={"reader": reader})


def tables_field(table: type) -> Any:  # noqa: ANN401
    """A field for tables of one kind, whose names are the user's; none by default."""
    return field(default_factory=dict, metadata={"tables": table})


def positive_duration(default: float) -> Any:  # noqa: ANN401
    """A field for a duration that is not zero."""
    return parsed_field(values.positive_duration, default)


def ignored_field() -> Any:  # noqa: ANN401
    """A key of the daemons that these services replace: accepted with any value, and without effect."""
    return field(default="", metadata={"reader": values.ignored, "ignored": True})
