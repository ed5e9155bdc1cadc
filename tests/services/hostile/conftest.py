"""One service for all attacks: what one leaves behind, the next ones find."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from tests.services.hostile.service import Attacked, SharedService


@pytest.fixture(scope="package")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedService]:
    """The service under attack, started when the first test needs it."""
    with ExitStack() as stack:
        yield SharedService(stack, partial(tmp_path_factory.mktemp, "hostile"))


@pytest.fixture
def attacked(shared_service: SharedService) -> Attacked:
    """The service, for a test that checks at its end that it is sound. After one that fails, the next has a new one."""
    attacked = shared_service.get()
    attacked.sound = False
    return attacked
