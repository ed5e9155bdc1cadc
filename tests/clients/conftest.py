"""What the tests of the page share: a browser, and a service with the page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tools.kit.chromium import Browser, browser_at, chromium
from tools.kit.page_service import PageService, page_service


@pytest.fixture(scope="module")
def program() -> Iterator[str]:
    """The browser's address: it takes longer to start than most tests here to run, so they share it."""
    with chromium() as url:
        yield url


@pytest.fixture
async def browser(program: str) -> AsyncIterator[Browser]:
    async with browser_at(program) as connected:
        yield connected


@pytest.fixture
async def service() -> AsyncIterator[PageService]:
    async with page_service() as running:
        yield running
