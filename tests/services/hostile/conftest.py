"""One service for all attacks: what one leaves behind, the next ones find."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.hostile.service import Attacked, open_attacked


@pytest.fixture(scope="package")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """The service under attack."""
    with open_attacked(tmp_path_factory.mktemp("hostile")) as service:
        yield service
