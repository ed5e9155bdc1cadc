"""Spark with Spark Connect, from the package `pyspark`; Iceberg and the JDBC driver are jars beside it.

The jars are in the folder that `LAKEHOUSE_SPARK_JARS` names; `nox -s scaleout` fetches them with Maven.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit
from uuid import uuid4

import pyarrow as pa

from lakehouse.services.engines.remote_messages import RemoteRequest, SourceSettings
from tools.kit.scaleout.object_storage import REGION, ObjectStorage
from tools.kit.scaleout.processes import accepts, find_free_ports, run_server, wait_until

JARS = ("iceberg-spark-runtime", "iceberg-aws-bundle", "postgresql")
VARIABLE = "LAKEHOUSE_SPARK_JARS"
MEMORY = "640m"
JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData"
"""A start with a quick compiler and few threads takes half the processor time."""
START_TIMEOUT = 240.0
ABANDONED = {
    "spark.connect.execute.reattachable.senderMaxStreamDuration": "5s",
    "spark.connect.execute.manager.detachedTimeout": "5s",
    "spark.connect.execute.manager.maintenanceInterval": "2s",
}
"""With these a server ends statements whose client is gone without a word. By default it waits for five minutes."""
SERVER = "org.apache.spark.sql.connect.service.SparkConnectServer"
EXTENSIONS = "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"


@dataclass(frozen=True)
class Spark:
    """A running server, whose catalog `lake` is that of `lake`, a table `[lake]` of a configuration."""

    port: int
    lake: Mapping[str, object]
    pid: int

    @property
    def url(self) -> str:
        """The URL for `[queryd.spark]`."""
        return f"sc://127.0.0.1:{self.port}"


def find_missing_spark() -> list[str]:
    """What is not there: Java, Spark, the jars."""
    missing = [] if shutil.which("java") else ["Java"]
    if find_home() is None:
        missing.append("pyspark")
    folder = Path(os.environ.get(VARIABLE) or "/nonexistent")
    return [*missing, *(f"{name}-*.jar" for name in JARS if not list(folder.glob(f"{name}-*.jar")))]


def find_home() -> Path | None:
    """The folder of Spark; None if `pyspark` is not there or has the client alone."""
    found = importlib.util.find_spec("pyspark")
    home = None if found is None or found.origin is None else Path(found.origin).parent
    return home if home is not None and (home / "bin" / "spark-submit").is_file() else None


@contextmanager
def open_spark(folder: Path, lake: Mapping[str, object], storage: ObjectStorage) -> Iterator[Spark]:
    """Run a server for the length of the block. It takes about 12 s until it accepts, and its first query 10 s."""
    folder.mkdir()
    home, (port,) = find_home(), find_free_ports(1)
    assert home is not None
    jars = ":".join(str(jar) for jar in sorted(Path(os.environ[VARIABLE]).glob("*.jar")))
    command = [str(home / "bin" / "spark-submit"), "--master", "local[2]", "--driver-memory", MEMORY]
    command += ["--driver-class-path", jars, "--driver-java-options", JAVA_OPTIONS]
    for name, value in make_properties(lake, storage, port).items():
        command += ["--conf", f"{name}={value}"]
    environment = {
        **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "JAVA_HOME", "LANG")},
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": str(folder),
    }
    log = folder.parent / f"{folder.name}.log"
    command += ["--class", SERVER, "spark-internal"]
    with run_server(command, log, environment=environment, directory=folder, stop=signal.SIGKILL) as process:
        wait_until(lambda: accepts(port), process, log, timeout=START_TIMEOUT)
        yield Spark(port, lake, process.pid)


def make_properties(lake: Mapping[str, object], storage: ObjectStorage, port: int) -> dict[str, str]:
    """The properties of a server over the same catalog and warehouse as the services."""
    catalog = urlsplit(str(lake["catalog"]))
    own = {
        "": "org.apache.iceberg.spark.SparkCatalog",
        ".type": "jdbc",
        ".uri": f"jdbc:postgresql://{catalog.hostname}:{catalog.port}{catalog.path}",
        ".jdbc.user": catalog.username or "",
        ".jdbc.password": catalog.password or "",
        ".jdbc.schema-version": "V1",
        ".warehouse": str(lake["warehouse"]),
        ".io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        ".s3.endpoint": storage.endpoint,
        ".s3.path-style-access": "true",
        ".s3.access-key-id": storage.key_id,
        ".s3.secret-access-key": storage.secret,
        ".client.region": REGION,
        ".cache-enabled": "false",
    }
    return {
        "spark.sql.extensions": EXTENSIONS,
        "spark.ui.enabled": "false",
        "spark.log.level": "WARN",
        "spark.sql.shuffle.partitions": "2",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
        **ABANDONED,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        **{f"spark.sql.catalog.lake{name}": value for name, value in own.items()},
    }


class SparkSession:
    """A session that may write: statements of a user of the cluster, beside the services."""

    def __init__(self, url: str) -> None:
        from lakehouse.services.engines.remote_child.spark.session import Session  # here: it needs the extra `spark`

        self._session = Session(SourceSettings(source="", url=url, catalog="lake"), "")
        self._session.open(monotonic() + START_TIMEOUT)

    def run(self, sql: str) -> list[dict[str, object]]:
        """Run one statement of any kind to its end; its rows."""
        from lakehouse.services.engines.remote_child.spark.execution import Execution  # here: as above
        from lakehouse.services.engines.remote_child.spark.literals import make_sql

        request = RemoteRequest(sql=sql, tag=f"test-{uuid4()}", timeout=START_TIMEOUT, max_rows=None)
        rows: list[dict[str, object]] = []
        for response in Execution(self._session, request, make_sql(sql, []), monotonic() + START_TIMEOUT).responses:
            if response.HasField("arrow_batch"):
                rows += pa.ipc.open_stream(response.arrow_batch.data).read_all().to_pylist()
        return rows

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


def warm_up(spark: Spark) -> None:
    """Run first statements, which take ten seconds and more in a new virtual machine; the namespace `main` is there then."""
    session = SparkSession(spark.url)
    for statement in ("CREATE NAMESPACE IF NOT EXISTS lake.main", "SELECT count(*) FROM range(100) WHERE id % 2 = 1"):
        session.run(statement)
    session.close()
