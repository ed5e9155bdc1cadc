"""The ways to reach the services of a lake, each with real processes: embedded, as daemons, and as daemons by URL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import httpx

from lakehouse.services.host.names import SERVICES
from lakehouse.services.lake.folder_lock import LockContent, find_holder
from tools.kit.child_processes import is_alive
from tools.kit.lake_crashes.service import find_descendants, has_role

TIMEOUT = 30.0
MAX_PUT = 256 * 1024
BASE: Mapping[str, Mapping[str, object]] = {
    "observe": {"log": "off"},
    "chatd": {"ollama_url": ""},
    "storaged": {"max_put": MAX_PUT},
}


@dataclass(frozen=True)
class Route:
    """How requests come to one service: its client, and the prefix of its paths."""

    http: httpx.Client
    prefix: str = ""

    def request(
        self,
        method: str,
        path: str,
        *,
        content: bytes = b"",
        json: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send a request to a path of the service."""
        body = {"content": content} if json is None else {"json": json}
        return self.http.request(method, self.prefix + path, headers=headers, **body)


class Lake:
    """A running lake, as one of the variants has it."""

    name = ""
    exact = True
    """Whether its searches compare all vectors."""

    def through(self, service: str) -> Route:
        """The way that the variant is about."""
        raise NotImplementedError

    def beside(self, service: str) -> Route:
        """Another way to the same service, which has to give the same bytes."""
        raise NotImplementedError

    def kill(self) -> None:
        """End the process that has the services, with SIGKILL, and let the next request find another one."""
        raise NotImplementedError

    def kill_child(self, role: str) -> None:
        """End the child of that process with this role, which runs, with SIGKILL."""
        child, *_ = [
            child for child in find_descendants(self.holder().pid) if has_role(child, role)
        ]  # others are below
        child.kill()
        while child.is_alive():
            sleep(0.01)

    def holder(self) -> LockContent:
        """The process that has the services."""
        raise NotImplementedError


@dataclass
class Started:
    """A command that runs, and the URLs that it has announced."""

    process: subprocess.Popen[str]
    urls: list[str]

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Send a signal, and wait for the end."""
        self.process.send_signal(number)
        try:
            self.process.wait(TIMEOUT)
        finally:
            self.process.kill()
            assert self.process.stdout is not None
            self.process.stdout.close()


Tables = Mapping[str, Mapping[str, object]]


def start(folder: Path, tables: Tables, *arguments: str, listeners: int = 1) -> Started:
    """Start a command of `lakehouse`, and wait until it listens."""
    merged = {name: {**BASE.get(name, {}), **tables.get(name, {})} for name in (*BASE, *tables)}
    lines = [
        f"[{name}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in keys.items()) for name, keys in merged.items()
    ]
    file = folder / f"{arguments[0]}.toml"
    file.write_text("".join(lines))
    command = [sys.executable, "-m", "lakehouse", *arguments, "-c", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    urls: list[str] = []
    for line in process.stdout:
        if "listening on" in line:
            urls.append(line.split()[-1])
        if len(urls) == listeners:
            break
    if len(urls) < listeners:
        process.stdout.close()
        raise RuntimeError(f"{arguments} did not start (exit status {process.wait()})")
    return Started(process, urls)


def _open_client(stack: ExitStack, url: str, *, uds: str | None = None) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=uds) if uds else None
    return stack.enter_context(httpx.Client(base_url=url, timeout=TIMEOUT, trust_env=False, transport=transport))


def read_holder(folder: Path) -> LockContent:
    """The process that has the lock of a lake's folder."""
    found = find_holder(folder)
    assert found is not None
    return found


@dataclass
class Embedded(Lake):
    """`lakehouse serve` with the services process. Beside: the socket of that process."""

    folder: Path
    gateway: httpx.Client
    stack: ExitStack
    name: str = "embedded"
    sockets: dict[str, httpx.Client] = field(default_factory=dict)

    def through(self, service: str) -> Route:
        return Route(self.gateway, "/v1")

    def beside(self, service: str) -> Route:
        self.gateway.get("/v1/storage/health")  # starts the process
        path = self.holder().socket
        if path not in self.sockets:
            self.sockets[path] = _open_client(self.stack, "http://services", uds=path)
        return Route(self.sockets[path])

    def kill(self) -> None:
        self.gateway.get("/v1/storage/health")
        pid = self.holder().pid
        os.kill(pid, signal.SIGKILL)
        while is_alive(pid):
            sleep(0.01)

    def holder(self) -> LockContent:
        return read_holder(self.folder)


@dataclass
class Daemons(Lake):
    """`lakehouse run` with all services in one process. Beside: the same with the prefix of the version."""

    folder: Path
    stack: ExitStack
    started: Started
    tables: Tables
    name: str = "daemons"
    clients: dict[str, httpx.Client] = field(default_factory=dict)

    def url(self, service: str) -> str:
        """The address of a daemon, which a restart keeps."""
        return self.started.urls[SERVICES.index(service)]

    def through(self, service: str) -> Route:
        if service not in self.clients:
            self.clients[service] = _open_client(self.stack, self.url(service))
        return Route(self.clients[service])

    def beside(self, service: str) -> Route:
        return Route(self.through(service).http, "/v1")

    def stop(self) -> None:
        """End the daemons that run now."""
        self.started.stop()

    def holder(self) -> LockContent:
        return read_holder(self.folder)

    def restart(self) -> None:
        """End the daemons in an orderly way, and start them again."""
        self.stop()
        self.started = run_daemons(self.folder, self.tables, [url.rpartition("/")[2] for url in self.started.urls])

    def kill(self) -> None:
        self.started.stop(signal.SIGKILL)
        self.started = run_daemons(self.folder, self.tables, [url.rpartition("/")[2] for url in self.started.urls])


def run_daemons(folder: Path, tables: Tables, binds: Sequence[str]) -> Started:
    """Start the daemons on these addresses."""
    bound = {name: {**tables.get(name, {}), "bind": bind} for name, bind in zip(SERVICES, binds, strict=True)}
    merged = {**tables, **bound, "lake": {"path": str(folder)}}
    return start(folder.parent, merged, "run", *SERVICES, listeners=len(SERVICES))


@dataclass
class Proxied(Lake):
    """`lakehouse serve` that knows the daemons by URL. Beside: the daemons."""

    gateway: httpx.Client
    daemons: Daemons
    name: str = "proxied"

    def through(self, service: str) -> Route:
        return Route(self.gateway, "/v1")

    def beside(self, service: str) -> Route:
        return self.daemons.through(service)

    def kill(self) -> None:
        self.daemons.kill()


@contextmanager
def open_embedded(folder: Path, tables: Tables) -> Iterator[Embedded]:
    """Start a gateway with the embedded services."""
    with ExitStack() as stack:
        lake = {**tables.get("lake", {}), "path": str(folder / "lake")}
        gateway = start(folder, {**tables, "lake": lake}, "serve", "--bind", "127.0.0.1:0")
        stack.callback(gateway.stop)
        yield Embedded(folder / "lake", _open_client(stack, gateway.urls[0]), stack)


@contextmanager
def open_daemons(folder: Path, tables: Tables) -> Iterator[Daemons]:
    """Start the daemons on free ports."""
    with ExitStack() as stack:
        started = run_daemons(folder / "lake", tables, ["127.0.0.1:0"] * len(SERVICES))
        lake = Daemons(folder / "lake", stack, started, tables)
        stack.callback(lake.stop)
        yield lake


@contextmanager
def open_proxied(folder: Path, daemons: Daemons) -> Iterator[Proxied]:
    """Start a gateway in front of daemons."""
    with ExitStack() as stack:
        urls = {f"{service}_url": daemons.url(service) for service in SERVICES}
        gateway = start(folder, {"gateway": urls}, "serve", "--bind", "127.0.0.1:0")
        stack.callback(gateway.stop)
        yield Proxied(_open_client(stack, gateway.urls[0]), daemons)


def wait_for_service(route: Route, health: str) -> None:
    """Ask for the health until the answer is 200."""
    limit = monotonic() + TIMEOUT
    while True:
        try:
            if route.request("GET", health).status_code == 200:
                return
        except httpx.TransportError:
            if monotonic() > limit:
                raise
        assert monotonic() < limit, f"{health} is not answered"
        sleep(0.02)
