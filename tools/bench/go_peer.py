"""The Go server of `go_matrix` with its reverse proxy, built and run beside the service on the same core."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tools.bench.lake_service import LakeBench
from tools.bench.process import Running

SOURCE = Path(__file__).parent / "go_matrix"
GO_PORT, GO_PROXY_PORT = 3231, 3230


def build_go_server(bench: LakeBench) -> Path:
    """Build the server. Raises RuntimeError without Go."""
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    if go is None:
        raise RuntimeError("the bench of the matrix needs Go: the package golang, or go.dev")
    binary = bench.directory / "go-matrix"
    subprocess.run([go, "build", "-o", str(binary), "."], cwd=SOURCE, check=True)
    return binary


@contextmanager
def go_server(
    bench: LakeBench, items: Iterator[Mapping[str, object]], *, ollama: str, model: str
) -> Iterator[tuple[Running, Running]]:
    """Run server and proxy with these items in the index. The port of the proxy is `GO_PROXY_PORT`."""
    binary, place = build_go_server(bench), bench.fresh("go")
    vectors = place / "items.ndjson"
    with vectors.open("w") as file:
        file.writelines(json.dumps(item) + "\n" for item in items)
    server = [str(binary), "-listen", f"127.0.0.1:{GO_PORT}", "-vectors", str(vectors)]
    server += ["-ollama", ollama, "-model", model]
    proxy = [str(binary), "-listen", f"127.0.0.1:{GO_PROXY_PORT}", "-proxy", f"http://127.0.0.1:{GO_PORT}"]
    with ExitStack() as stack:
        running = [
            stack.enter_context(Running(command, cores=bench.service_cores, name=name, log=place / f"{name}.log"))
            for name, command in (("server", server), ("proxy", proxy))
        ]
        for process, port in zip(running, (GO_PORT, GO_PROXY_PORT), strict=True):
            process.wait_until_ready(port)
        yield running[0], running[1]
