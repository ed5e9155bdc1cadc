"""Each way to the services, before and after the process that has them was killed: one start for all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product

import pytest

from tests.services.conformance.fake_ollama import open_fake_ollama
from tests.services.conformance.lakes import (
    Daemons,
    Embedded,
    Lake,
    open_daemons,
    open_embedded,
    open_proxied,
    wait_for_service,
)
from tests.services.conformance.service_cases import SERVICE_CASES
from tests.services.engine_servers import EngineServers
from tools.kit.matrices import EVERYTHING
from tools.kit.scaleout import configure_warehouse, find_missing
from tools.kit.scaleout.vector_servers import VectorServer, configure_store, find_missing_stores

VARIANTS = ("embedded", "daemons", "proxied", "warehouse", "qdrant", "chroma")
STATES = ("fresh", "killed")
MISSING = {"warehouse": find_missing(), "qdrant": find_missing_stores(), "chroma": find_missing_stores()}
"""What is not installed of the servers of a variant. Hundreds of tests without servers are not skipped one by one."""
FIRST = {(variant, "fresh") for variant in VARIANTS if variant != "proxied"}
"""A lake that was killed was a fresh one before."""
CELLS = [
    cell
    for cell in product(VARIANTS, STATES)  # those that are reached by URL are the daemons
    if EVERYTHING or not (cell in FIRST or cell == ("proxied", "killed") or MISSING.get(cell[0]))
]


@pytest.fixture(scope="session")
def lakes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, engine_servers: EngineServers
) -> Iterator[Callable[[str], Lake]]:
    """The lakes by name, started when they are asked for."""
    opened: dict[str, Lake] = {}
    with ExitStack() as stack:
        tables = {"embedd": {"provider_url": stack.enter_context(open_fake_ollama())}}

        def find(name: str) -> Lake:
            if name not in opened:
                folder = tmp_path_factory.mktemp(name)
                if name == "proxied":
                    daemons = find("daemons")
                    assert isinstance(daemons, Daemons)
                    opened[name] = stack.enter_context(open_proxied(folder, daemons))
                elif name == "warehouse":
                    servers = request.getfixturevalue("object_storage"), request.getfixturevalue("postgres")
                    lake = configure_warehouse(folder, *servers)
                    records = {"store": lake["catalog"]}
                    shared = {"lake": lake, "vectord": records, "pathwayd": records, "observerd": records}
                    opened[name] = stack.enter_context(open_embedded(folder, {**tables, **shared}))
                elif name in ("qdrant", "chroma"):
                    server: VectorServer = request.getfixturevalue(name)
                    stores = configure_store(folder, server)
                    opened[name] = stack.enter_context(open_embedded(folder, {**tables, **stores}))
                    opened[name].exact = name == "qdrant"
                else:
                    opener = {"embedded": open_embedded, "daemons": open_daemons}[name]
                    opened[name] = stack.enter_context(opener(folder, tables))
                if name in MISSING:
                    found = opened[name]
                    assert isinstance(found, Embedded)
                    engine_servers.lakes.callback(found.stack.close)
            return opened[name]

        yield find


@pytest.fixture(scope="session", params=CELLS, ids="-".join)
def lake(request: pytest.FixtureRequest, lakes: Callable[[str], Lake]) -> Iterator[Lake]:
    """A lake; killed: with data that was acknowledged before its process was killed."""
    variant, state = request.param
    found = lakes(variant)
    for case in SERVICE_CASES:
        wait_for_service(found.through(case.service), case.health)
        case.keep(found)
    if state == "killed":
        found.kill()
        for case in SERVICE_CASES:  # until its successor has the folder's lock, the gateway answers 503
            wait_for_service(found.through(case.service), case.health)
    yield found
    if variant in MISSING and state == STATES[-1] and isinstance(found, Embedded):
        found.stack.close()  # the servers beside it need the memory


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses."""
    return "".join(letter if letter.isalnum() else "_" for letter in request.node.name)[:100]
