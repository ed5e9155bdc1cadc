"""Three reverse proxies in front of one scripted service: ours in this process, nginx and Caddy in their own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from tools.kit.gateway_services import Answer, Client, Service, open_gateway

NGINX = """
daemon off; master_process off; pid {home}/pid; error_log /dev/null; events {{}}
http {{
  access_log off; client_body_temp_path {home}/a; proxy_temp_path {home}/b;
  fastcgi_temp_path {home}/c; uwsgi_temp_path {home}/d; scgi_temp_path {home}/e;
  server {{
    listen 127.0.0.1:{port};
    location /v1/storage/ {{ proxy_pass {upstream}/storage/; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""

CADDY = """
{{
  admin off
  auto_https off
  log {{
    output discard
  }}
}}
http://:{port} {{
  bind 127.0.0.1
  handle /v1/storage/* {{
    uri strip_prefix /v1
    reverse_proxy {upstream}
  }}
}}
"""

COMMANDS = {
    "nginx": (NGINX, ["-p", "{home}", "-c", "{file}"]),
    "caddy": (CADDY, ["run", "--adapter", "caddyfile", "--config", "{file}"]),
}

NAMES = {"nginx": "nginx", "caddy": "Caddy"}

ANSWER_TIMEOUT = 3.0
"""Seconds for an answer that will not come."""


@dataclass(frozen=True)
class Proxy:
    """One of the proxies, and where it listens."""

    name: str
    address: tuple[str, int]

    async def ask(self, target: bytes, *, headers: str = "", body: bytes = b"") -> Answer | None:
        """Its answer to a GET, or to a POST if there is a body; None if none came in time."""
        with trio.move_on_after(ANSWER_TIMEOUT):
            async with Client(await trio.open_tcp_stream(*self.address)) as client:
                try:
                    return await client.ask(target, method="POST" if body else "GET", headers=headers, body=body)
                except (EOFError, trio.BrokenResourceError):
                    pass
        return None


@asynccontextmanager
async def in_front_of_one_service() -> AsyncIterator[tuple[Service, list[Proxy]]]:
    """The service, and the proxies in front of it, ours first."""
    async with open_gateway() as up:
        with foreign("nginx", up.storaged.url) as nginx, foreign("caddy", up.storaged.url) as caddy:
            await _until_it_listens(nginx)
            await _until_it_listens(caddy)
            yield up.storaged, [Proxy("Lakehouse", up.address), nginx, caddy]


@contextmanager
def foreign(program: str, upstream: str) -> Iterator[Proxy]:
    """Another proxy on a free port of loopback, with its files in a directory that goes with it."""
    path = shutil.which(program)
    if path is None:
        raise SystemExit(f"{program} is not installed (Debian: apt-get install nginx-light caddy)")
    template, arguments = COMMANDS[program]
    with tempfile.TemporaryDirectory() as home:
        port = _free_port()
        file = Path(home, "config")
        file.write_text(template.format(home=home, port=port, upstream=upstream))
        command = [path, *(argument.format(home=home, file=file) for argument in arguments)]
        environment = {"PATH": os.environ["PATH"], "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(command, env=environment, cwd=home, stdout=quiet, stderr=quiet)
        try:
            yield Proxy(NAMES[program], ("127.0.0.1", port))
        finally:
            process.terminate()
            process.wait()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def _until_it_listens(proxy: Proxy) -> None:
    with trio.fail_after(10):
        while True:
            try:
                await trio.aclose_forcefully(await trio.open_tcp_stream(*proxy.address))
            except OSError:
                await trio.sleep(0.05)
            else:
                return
