"""Sail, from the package `pysail`: servers of Spark Connect and of Flight SQL without a JVM, over a REST catalog."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from lakehouse.core.extras import missing_modules
from tools.kit.scaleout.object_storage import REGION, ObjectStorage
from tools.kit.scaleout.processes import accepts, find_free_ports, run_server, wait_until

Protocol = Literal["spark", "flight"]


@dataclass(frozen=True)
class Sail:
    """A running server, whose catalog `lake` is that of `lake`, a table `[lake]` of a configuration."""

    protocol: Protocol
    port: int
    lake: Mapping[str, object]
    pid: int

    @property
    def url(self) -> str:
        """The URL for `[queryd.spark]` or `[queryd.flightsql]`."""
        return f"{'sc' if self.protocol == 'spark' else 'grpc'}://127.0.0.1:{self.port}"


def find_missing_sail() -> list[str]:
    """The packages that are not installed."""
    return missing_modules("pysail")


@contextmanager
def open_sail(
    folder: Path, protocol: Protocol, lake: Mapping[str, object], storage: ObjectStorage, *, port: int = 0
) -> Iterator[Sail]:
    """Run a server for the length of the block, over a lake in a REST catalog (`configure_rest_catalog`)."""
    folder.mkdir()
    port = port or find_free_ports(1)[0]
    code = "import sys; from pysail.cli import main; sys.argv[0] = 'sail'; main()"
    command = [sys.executable, "-c", code, protocol, "server", "--port", str(port)]
    log = folder.parent / f"{folder.name}.log"
    environment = make_environment(lake, storage)
    with run_server(command, log, environment=environment, directory=folder, stop=signal.SIGKILL) as process:
        wait_until(lambda: accepts(port), process, log)
        yield Sail(protocol, port, lake, process.pid)


def make_environment(lake: Mapping[str, object], storage: ObjectStorage) -> dict[str, str]:
    """The variables of a server over the same catalog and warehouse as the services."""
    catalog = {
        "type": "iceberg-rest",
        "name": "lake",
        "uri": str(lake["catalog"]),
        "warehouse": str(lake["warehouse"]),
        "oauth_access_token": fetch_token(storage),
    }
    written = ", ".join(f"{name}={json.dumps(value)}" for name, value in catalog.items())
    inherited = ("PATH", "HOME", "LANG", "PYTHONPATH", "VIRTUAL_ENV")
    return {
        **{name: value for name, value in os.environ.items() if name in inherited},
        **storage.environment,
        "AWS_ENDPOINT": storage.endpoint,
        "AWS_REGION": REGION,
        "AWS_ALLOW_HTTP": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
        "SAIL_CATALOG__LIST": f"[{{{written}}}]",
        "SAIL_CATALOG__DEFAULT_CATALOG": "lake",
        "SAIL_CATALOG__DEFAULT_DATABASE": '["main"]',
    }


def fetch_token(storage: ObjectStorage) -> str:
    """A token of the REST catalog."""
    form = {
        "grant_type": "client_credentials",
        "client_id": storage.key_id,
        "client_secret": storage.secret,
        "scope": "catalog",
    }
    answer = httpx.post(f"{storage.catalog}/v1/oauth/tokens", data=form, trust_env=False).raise_for_status()
    return str(answer.json()["access_token"])
