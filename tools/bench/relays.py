"""Proxies that pass bytes, and no gateway at all."""

from __future__ import annotations

import shutil

from tools.bench.load import Target
from tools.bench.peer import JSON, PORT, Peer, conversation, printed
from tools.bench.process import Running
from tools.bench.upstream import PORT as UPSTREAM_PORT


class Direct(Peer):
    """No gateway."""

    name = "no gateway"
    passes_bytes = True

    def start(self, *, cores: str) -> Running:
        return Running(["sleep", "3600"], cores=cores, name=self.name)

    def get(self, path: str = "/1k") -> Target:
        return Target(port=UPSTREAM_PORT, path=f"/storage{path}")

    def chat(self, kind: str, *, size: int = 0) -> Target:
        return Target(
            port=UPSTREAM_PORT,
            path=f"/{kind}/chat/completions",
            headers=[JSON],
            body=conversation("m", stream=kind != "whole", size=size),
        )


class Relay(Peer):
    """A proxy that passes bytes."""

    passes_bytes = True

    def chat(self, kind: str, *, size: int = 0) -> Target:
        body = conversation("m", stream=kind != "whole", size=size)
        return Target(port=PORT, path=f"/v1/{kind}/chat/completions", headers=[JSON], body=body)


class Nginx(Relay):
    name = "nginx"

    def version(self) -> str:
        return printed(["nginx", "-v"]).removeprefix("nginx version: nginx/")

    def install(self) -> None:
        if not shutil.which("nginx"):
            raise RuntimeError("not installed: apt-get install nginx-light")

    def start(self, *, cores: str) -> Running:
        at = self.directory
        temp = " ".join(
            f"{kind}_temp_path {at}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (at / "nginx.conf").write_text(f"""
            worker_processes 1; daemon off; pid {at}/pid; error_log {at}/error.log;
            events {{ worker_connections 16384; }}
            http {{ access_log off; keepalive_requests 100000000; client_max_body_size 0; {temp}
              upstream u {{
                server {self.upstream.removeprefix("http://")}; keepalive 1024; keepalive_requests 100000000;
              }}
              server {{ listen 127.0.0.1:{PORT} backlog=8192;
                location /v1/ {{ proxy_pass http://u/; proxy_http_version 1.1; proxy_set_header Connection "";
                  proxy_buffering off; proxy_request_buffering off; }} }} }}""")
        return self.up(["nginx", "-c", str(at / "nginx.conf")], cores=cores)


class Caddy(Relay):
    name = "Caddy"

    def version(self) -> str:
        return printed(["caddy", "version"]).split()[0]

    def install(self) -> None:
        if not shutil.which("caddy"):
            raise RuntimeError("not installed: apt-get install caddy")

    def start(self, *, cores: str) -> Running:
        (self.directory / "Caddyfile").write_text(f"""{{
            admin off
            auto_https off
            storage file_system {self.directory}
        }}
        http://127.0.0.1:{PORT} {{
            bind 127.0.0.1
            uri strip_prefix /v1
            reverse_proxy {self.upstream.removeprefix("http://")} {{
                transport http {{
                    keepalive_idle_conns_per_host 1024
                }}
            }}
        }}""")
        env = {"GOMAXPROCS": "1", "HOME": str(self.directory)}
        command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(self.directory / "Caddyfile")]
        return self.up(command, cores=cores, env=env)
