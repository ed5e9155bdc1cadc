"""Run a command, such as tests in several processes, beside servers of a lake beyond one machine.

    python -m tools.scaleout_servers COMMAND...

Starts S3, PostgreSQL, Qdrant's engine and Chroma on loopback, as far as they are installed (the group `scaleout`, and
`chromadb`), and ends them after the command, whose status is that of this program. A variable of the environment names
the file that says where the servers are; without it each process of tests starts servers of its own. The engines of SQL
are left to the process that has their tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tools.kit.scaleout import find_missing
from tools.kit.scaleout.addresses import ServerAddresses, write_addresses
from tools.kit.scaleout.object_storage import open_object_storage
from tools.kit.scaleout.postgres import open_postgres
from tools.kit.scaleout.vector_servers import find_missing_stores, open_chroma, open_qdrant

END_TIMEOUT = 60.0
"""Seconds for the command to end after an interrupt, which it has got as well."""


def start(folder: Path, stack: ExitStack) -> ServerAddresses:
    """Start all that is installed, at once, for the length of the stack."""
    enter = stack.enter_context
    with ThreadPoolExecutor() as pool:
        has_lake, has_stores = not find_missing(), not find_missing_stores()
        storage = pool.submit(enter, open_object_storage(folder / "s3")) if has_lake else None
        postgres = pool.submit(enter, open_postgres(folder / "postgres")) if has_lake else None
        qdrant = pool.submit(enter, open_qdrant(folder / "qdrant")) if has_stores else None
        chroma = pool.submit(enter, open_chroma(folder / "chroma")) if has_stores else None
    return ServerAddresses(
        object_storage=None if storage is None else storage.result(),
        postgres=None if postgres is None else postgres.result(),
        qdrant=None if qdrant is None else qdrant.result().address,
        chroma=None if chroma is None else chroma.result().address,
    )


def run(command: Sequence[str], environment: dict[str, str]) -> int:
    """Run the command to its end."""
    with subprocess.Popen(command, env={**os.environ, **environment}) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            return process.wait(END_TIMEOUT)


def main() -> int:
    """Start the servers, and run the command."""
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        environment = write_addresses(Path(folder) / "servers.json", start(Path(folder), stack))
        return run(sys.argv[1:], environment)


if __name__ == "__main__":
    sys.exit(main())
