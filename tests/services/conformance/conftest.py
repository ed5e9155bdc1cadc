"""Each way to the services, before and after the process that has them was killed: one start for all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.services.conformance.fake_ollama import open_fake_ollama
from tests.services.conformance.lakes import Daemons, Lake, open_daemons, open_embedded, open_proxied, wait_for_service
from tests.services.conformance.service_cases import SERVICE_CASES

VARIANTS = ("embedded", "daemons", "proxied")
STATES = ("fresh", "killed")


@pytest.fixture(scope="session")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Lake]]:
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
                else:
                    opener = {"embedded": open_embedded, "daemons": open_daemons}[name]
                    opened[name] = stack.enter_context(opener(folder, tables))
            return opened[name]

        yield find


@pytest.fixture(scope="session", params=[pytest.param((v, s), id=f"{v}-{s}") for v in VARIANTS for s in STATES])
def lake(request: pytest.FixtureRequest, lakes: Callable[[str], Lake]) -> Lake:
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
    return found


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses."""
    return "".join(letter if letter.isalnum() else "_" for letter in request.node.name)[:100]
