"""What processes of the services do not import at their start, which would take longer."""

from __future__ import annotations

import subprocess
import sys

OF_CHILDREN = ("duckdb", "pyiceberg", "pyarrow", "numpy", "numkong", "tantivy", "wordllama", "pypdf", "selectolax")


def find_imported(modules: str, *unwanted: str) -> list[str]:
    """Those of the unwanted modules that an interpreter has after these imports."""
    code = f"import sys, {modules}\nprint(*sorted(set({unwanted!r}) & set(sys.modules)))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_the_services_process_imports_no_library_of_its_children() -> None:
    assert find_imported("lakehouse.services.host.process", *OF_CHILDREN) == []


def test_the_tables_process_imports_pyarrow_no_sooner_than_a_commit_needs_it() -> None:
    assert find_imported("lakehouse.services.tables.child, pyiceberg.catalog.sql", "pyarrow", "numpy") == []
