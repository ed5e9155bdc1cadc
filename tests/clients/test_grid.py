"""The grid of real clients: what `docs/clients.md` says of each is what it does, over each wire protocol of providers.

The Python clients are in the suite. The others are fetched, so they are for `nox -s clients`, which sets the variable.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clients.markers import in_clients_session
from tools.kit.client_grid.javascript_clients import measure_javascript_clients
from tools.kit.client_grid.programs import measure_program
from tools.kit.client_grid.python_clients import PYTHON_CLIENTS, measure_python_client
from tools.kit.client_grid.service import open_grid_service
from tools.kit.client_grid.table import GridRow, read_table
from tools.kit.client_programs import PROGRAMS
from tools.kit.doc_pages.client_page import PAGE
from tools.kit.not_installed import NotInstalled


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with open_grid_service() as url:
        yield url


def check_row(row: GridRow) -> None:
    """A row has passed, and the page has it; the version may be a newer one than the page's."""
    assert row.failures == {}
    published = read_table(PAGE.read_text())[row.client, row.form]
    assert (*published[:-1],) == row.cells, "`python -m tools.client_grid` writes the page"


@pytest.mark.extended
@pytest.mark.parametrize(("client", "form"), PYTHON_CLIENTS, ids=map("-".join, PYTHON_CLIENTS))
async def test_a_python_client(client: str, form: str, url: str) -> None:
    try:
        row = await measure_python_client(client, form, url)
    except NotInstalled as missing:
        pytest.skip(str(missing))
    check_row(row)


@in_clients_session
async def test_the_javascript_clients(url: str, request: pytest.FixtureRequest) -> None:
    assert request.config.cache is not None
    try:
        rows = await measure_javascript_clients(url, request.config.cache.mkdir("client-grid"))
    except NotInstalled as missing:
        pytest.skip(str(missing))
    assert len(rows) == 6
    for row in rows:
        check_row(row)


@in_clients_session
@pytest.mark.parametrize("name", PROGRAMS)
async def test_a_program_started_by_launch(name: str, url: str, tmp_path: Path) -> None:
    try:
        row = await measure_program(name, url, tmp_path)
    except NotInstalled as missing:
        pytest.skip(str(missing))
    check_row(row)


def test_the_page_has_no_row_that_nothing_measures() -> None:
    programs = {(program.title, program.form) for program in PROGRAMS.values()}
    others = set(read_table(PAGE.read_text())) - set(PYTHON_CLIENTS) - programs
    assert all(client.endswith("JavaScript") for client, _ in others)
