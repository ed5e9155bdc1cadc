"""What is installed only where it is wanted, and what to do where it is missing."""

from __future__ import annotations

from importlib.util import find_spec

OTEL = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


def missing_modules(*modules: str) -> list[str]:
    """Those of these modules that cannot be found. Imports none of them, at the most the packages they are in."""
    return [name for name in modules if not _there(name)]


def _there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # not even the package it is in
        return False


def install_hint(extra: str, absent: list[str]) -> str:
    """The end of a sentence about something that needs this extra.

    Never `pip install lakehouse[...]`: the package index has another project of that name.
    """
    return (
        f"needs the extra `{extra}`, of which {' and '.join(absent)} cannot be found: "
        f"pip install '.[{extra}]' in Lakehouse's checkout"
    )
