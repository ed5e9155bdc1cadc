"""A service with an embedded lake in a folder of its own, and nginx on the same disk to compare with."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tools.bench import load
from tools.bench.load import Target
from tools.bench.process import Running, answers

PORT = 3220
NGINX_PORT = 3229
TOKEN = "bench"


@dataclass(frozen=True, kw_only=True)
class LakeBench:
    """Where and how long to measure. The service runs on `service_cores`, the load on `load_cores`."""

    directory: Path
    service_cores: str
    load_cores: str
    seconds: float
    quick: bool

    def fresh(self, name: str) -> Path:
        """An empty folder."""
        place = self.directory / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        return place

    def measure_load(self, target: Target, connections: int) -> load.Rate:
        """Send requests over so many connections, for the length of one measurement."""
        return load.requests(
            target, connections=connections, seconds=self.seconds, cores=self.load_cores, directory=self.directory
        )


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One result; `target` is what it must be at least, or at most, if there is a target."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_most: bool = False

    @property
    def holds(self) -> bool:
        """Whether the target is met."""
        if self.target is None:
            return True
        return self.value <= self.target if self.at_most else self.value >= self.target


@contextmanager
def lake_service(
    bench: LakeBench, *, cores: str = "", start: str = "eager", tables: str = "", lake: Path | None = None
) -> Iterator[Running]:
    """`lakehouse serve` with one worker and a new lake, or that in the folder `lake`; `start` is when services start.

    `tables` are more of the configuration, as TOML.

    Raises RuntimeError if a service that an interrupted run left answers on the port: it would be measured instead.
    """
    if answers(PORT):
        raise RuntimeError(f"another service answers on port {PORT}: end it first")
    place = bench.fresh("service")
    config = place / "lakehouse.toml"
    config.write_text(f'[lake]\npath = "{lake or place / "lake"}"\nstart = "{start}"\n{tables}')
    command = [sys.executable, "-m", "lakehouse", "serve", "-c", str(config), "--bind", f"127.0.0.1:{PORT}"]
    cores = cores or bench.service_cores
    with Running(command, cores=cores, name="Lakehouse", env={"LAKEHOUSE_TOKEN": TOKEN}, log=place / "log") as running:
        running.wait_until_ready(PORT)
        yield running


@contextmanager
def nginx_files(bench: LakeBench, *, cores: str = "") -> Iterator[Path]:
    """nginx that serves and takes files (its module for WebDAV) in a folder on the same disk. Yields the folder."""
    place = bench.fresh("nginx")
    (place / "files").mkdir()
    place.chmod(0o755)
    temp = " ".join(
        f"{kind}_temp_path {place}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (place / "nginx.conf").write_text(f"""
        user root; worker_processes 1; daemon off; pid {place}/pid; error_log {place}/error.log;
        events {{ worker_connections 1024; }}
        http {{ access_log off; sendfile on; client_max_body_size 0; {temp}
          server {{ listen 127.0.0.1:{NGINX_PORT}; root {place}/files; dav_methods PUT DELETE; }} }}""")
    command = ["nginx", "-c", str(place / "nginx.conf")]
    with Running(command, cores=cores or bench.service_cores, name="nginx") as running:
        running.wait_until_ready(NGINX_PORT)
        yield place / "files"


def reset_peaks(running: Running) -> dict[int, int]:
    """Forget how much memory the processes had at most. Returns what they have now, in bytes."""
    for pid in running.pids():
        with suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")
    return {pid: _status(pid, "VmRSS") for pid in running.pids()}


def grown(running: Running, before: dict[int, int]) -> int:
    """By how many bytes the memory of any of these processes has grown at most since `reset_peaks`."""
    return max(_status(pid, "VmHWM") - before[pid] for pid in running.pids() if pid in before)


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0
