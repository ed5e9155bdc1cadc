"""The docstrings of packages that list their modules list all of them, and none that is not there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "lakehouse"
LISTED = (
    "asgi",
    "asgi/middleware",
    "core",
    "net",
    "net/http1",
    "process",
    "process/calls",
    "process/sandboxing",
    "process/supervision",
    "server",
    "server/http1",
    "server/transports",
    "server/websocket",
    "services/contracts",
    "telemetry",
    "upstream",
    "upstream/connections",
    "upstream/http1",
)


@pytest.mark.parametrize("name", LISTED)
def test_every_module_is_in_its_packages_docstring(name: str) -> None:
    folder = PACKAGE / name
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    modules = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    words = set(re.findall(r"[a-z_0-9]+", docstring))
    assert modules - words == set()
    listed = re.findall(r"^ +([a-z_0-9]+)/? ", docstring, flags=re.MULTILINE)
    packages = {child.name for child in folder.iterdir() if child.is_dir()}
    assert set(listed) <= modules | packages
