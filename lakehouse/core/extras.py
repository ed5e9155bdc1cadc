"""Optional packages: whether they are installed, and how to install them."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

LAKE = ("duckdb", "pyiceberg", "pyarrow", "sqlalchemy", "nanoarrow", "python_multipart", "zstandard")
OTEL = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


def missing_modules(*modules: str) -> list[str]:
    """The modules among these that cannot be found. Imports none of them, only the packages that contain them."""
    return [name for name in modules if not _is_installed(name)]


@cache  # to look through the folders of packages takes 0.4 ms, and a service asks for the same ones several times
def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the package that contains it is missing
        return False


def install_hint(extra: str, absent: list[str]) -> str:
    """The end of an error message about a feature that needs this extra.

    It does not say `pip install lakehouse[...]`: the package index has another project of that name.
    """
    return (
        f"needs the extra `{extra}`, of which {' and '.join(absent)} cannot be found: "
        f"pip install '.[{extra}]' in Lakehouse's checkout"
    )
