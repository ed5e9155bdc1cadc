"""Real servers, which not every installation has."""

from __future__ import annotations

from collections.abc import Sequence

import pytest


def skip_without(missing: Sequence[str]) -> None:
    """Skip the test if packages of its servers or their clients are missing."""
    if missing:
        pytest.skip(f"the packages of a real server are not installed: {', '.join(missing)}")
