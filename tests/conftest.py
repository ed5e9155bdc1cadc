"""For every test: what the run has made before the first of them is set aside."""

from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    """Thousands of collected tests are looked through by every collection of garbage otherwise, for nothing."""
    gc.collect()
    gc.freeze()
