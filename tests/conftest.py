"""What holds for every test.

Properties are tried with the same examples each time, so that a failure can be repeated, and a busy machine is none:
nothing is judged by how long it took to make an example.
"""

from __future__ import annotations

import gc
import os
import ssl
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module

import httpx
import pytest
from hypothesis import HealthCheck, settings

from tools.kit.examples import count_examples
from tools.kit.stuck_tests import StuckTests

settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    max_examples=count_examples(100),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")


def pytest_configure(config: pytest.Config) -> None:
    """A test that is stuck ends its process, unless someone debugs it."""
    if not config.getoption("usepdb"):
        config.pluginmanager.register(StuckTests(config))


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Each of several processes imports another part of the test modules first, then those that the others have compiled.

    All of them collect all modules, in the same order: in a new checkout each would compile each module for itself. What
    is collected stays, so collections of garbage find nothing.
    """
    gc.disable()
    worker: dict[str, str | int] | None = getattr(session.config, "workerinput", None)
    if worker is None or [str(folder) for folder in session.config.args] != ["tests"]:
        return
    files = sorted(session.config.rootpath.glob("tests/**/test_*.py"))
    first = int(str(worker["workerid"]).removeprefix("gw")) * len(files) // int(worker["workercount"])
    for file in files[first:] + files[:first]:
        with suppress(Exception, pytest.skip.Exception):  # the collection reports what a module raises
            import_module(".".join(file.relative_to(session.config.rootpath).with_suffix("").parts))


def pytest_collection_finish() -> None:
    """Thousands of collected tests are looked through by every collection of garbage otherwise, for nothing."""
    gc.enable()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def data_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test touches the lake of the user who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "XDG_DATA_HOME", str(tmp_path_factory.mktemp("data-home")))
        yield


@pytest.fixture(scope="session", autouse=True)
def http_timeouts() -> Iterator[None]:
    """Clients of httpx wait 30 s rather than five: what is asked may have to wait for a processor."""
    with pytest.MonkeyPatch.context() as patch:
        for phase in ("connect", "read", "write", "pool"):
            patch.setattr(f"httpx._config.DEFAULT_TIMEOUT_CONFIG.{phase}", 30.0)
        yield


@pytest.fixture(scope="session", autouse=True)
def certificate_authorities() -> Iterator[None]:
    """httpx reads the certificates of all authorities for each client, also for one of plain HTTP: here it does so once.

    That takes 25 ms of processor time, and thousands of tests have a client.
    """
    make_context = httpx.create_ssl_context
    shared = make_context()

    def get_context(
        verify: ssl.SSLContext | str | bool = True,
        cert: str | tuple[str, str] | tuple[str, str, str] | None = None,
        trust_env: bool = True,
    ) -> ssl.SSLContext:
        return shared if verify is True and cert is None else make_context(verify, cert, trust_env)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx._transports.default.create_ssl_context", get_context)
        yield
