"""What the services process does not import: libraries that only its children use."""

from __future__ import annotations

import subprocess
import sys

OF_CHILDREN = ("duckdb", "pyiceberg", "pyarrow", "numpy", "numkong", "tantivy", "wordllama", "pypdf", "selectolax")


def test_the_services_process_imports_no_library_of_its_children() -> None:
    code = f"import sys, lakehouse.services.host.process\nprint(*sorted(set({OF_CHILDREN!r}) & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
