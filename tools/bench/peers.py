"""The gateways that are compared: how each is started, and how each is asked for the same thing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path

from tools.bench.load import Target
from tools.bench.process import Running, wait_for
from tools.bench.upstream import URL, WORDS

PORT = 3210
LITELLM, PORTKEY = "litellm[proxy]==1.108.7", "@portkey-ai/gateway@1.15.2"


def conversation(model: str, *, stream: bool = False, size: int = 0) -> bytes:
    """A chat request of about one kilobyte, or with `size` more bytes of text."""
    text = WORDS[:800] + "x" * size
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}).encode()


class Peer(ABC):
    """One gateway."""

    name: str
    passes_bytes = False

    def __init__(self, directory: Path) -> None:
        self.directory = directory / self.name.replace(" ", "-")
        self.directory.mkdir(parents=True, exist_ok=True)

    def install(self) -> None:
        """Make it available, or raise RuntimeError saying why it is left out."""

    @abstractmethod
    def start(self, *, core: int) -> Running:
        """Start it, one worker, at its recommended settings for production."""

    def up(self, command: list[str], *, core: int, env: dict[str, str] | None = None) -> tuple[Running, float]:
        """Started and listening, with the seconds that it took."""
        running = Running(command, core=core, name=self.name, env=env, log=self.directory / "log")
        return running, wait_for(PORT, running)

    def get(self, path: str = "/v1/storage/1k") -> Target | None:
        """A relayed request without a body; None if it has no such thing."""
        return Target(port=PORT, path=path)

    def post(self) -> Target | None:
        """A relayed upload."""
        return Target(port=PORT, path="/v1/storage/up")

    @abstractmethod
    def chat(self, kind: str, *, size: int = 0) -> Target:
        """A chat: `whole`, `burst` or `slow`."""


JSON = "content-type: application/json"


class Direct(Peer):
    """No gateway."""

    name = "no gateway"
    passes_bytes = True

    def start(self, *, core: int) -> Running:
        return Running(["sleep", "3600"], core=core, name=self.name)

    def get(self, path: str = "/v1/storage/1k") -> Target:
        return Target(port=9000, path=path.removeprefix("/v1"))

    def post(self) -> Target:
        return Target(port=9000, path="/storage/up")

    def chat(self, kind: str, *, size: int = 0) -> Target:
        return Target(
            port=9000,
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

    def install(self) -> None:
        if not shutil.which("nginx"):
            raise RuntimeError("not installed: apt-get install nginx-light")

    def start(self, *, core: int) -> Running:
        at = self.directory
        temp = " ".join(
            f"{kind}_temp_path {at}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (at / "nginx.conf").write_text(f"""
            worker_processes 1; daemon off; pid {at}/pid; error_log {at}/error.log; events {{ worker_connections 16384; }}
            http {{ access_log off; keepalive_requests 100000000; client_max_body_size 0; {temp}
              upstream u {{ server 127.0.0.1:9000; keepalive 1024; keepalive_requests 100000000; }}
              server {{ listen 127.0.0.1:{PORT} backlog=8192;
                location /v1/ {{ proxy_pass http://u/; proxy_http_version 1.1; proxy_set_header Connection "";
                  proxy_buffering off; proxy_request_buffering off; }} }} }}""")
        return self.up(["nginx", "-c", str(at / "nginx.conf")], core=core)[0]


class Caddy(Relay):
    name = "Caddy"

    def install(self) -> None:
        if not shutil.which("caddy"):
            raise RuntimeError("not installed: apt-get install caddy")

    def start(self, *, core: int) -> Running:
        (self.directory / "Caddyfile").write_text(f"""{{
            admin off
            auto_https off
            storage file_system {self.directory}
        }}
        http://127.0.0.1:{PORT} {{
            bind 127.0.0.1
            uri strip_prefix /v1
            reverse_proxy 127.0.0.1:9000 {{
                flush_interval -1
                transport http {{
                    keepalive_idle_conns_per_host 1024
                }}
            }}
        }}""")
        env = {"GOMAXPROCS": "1", "HOME": str(self.directory)}
        command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(self.directory / "Caddyfile")]
        return self.up(command, core=core, env=env)[0]


class Lakehouse(Peer):
    """Ours, with the door, deadlines, log and metrics on."""

    name = "Lakehouse"
    workers = 1
    tiers = 0

    def start(self, *, core: int) -> Running:
        tiers = "".join(f'tier{i} = "openrouter/m{i}"\n' for i in range(self.tiers))
        (self.directory / "lakehouse.toml").write_text(f"""
            [gateway]
            storaged_url = "{URL}"
            max_connections = 4096
            [chatd]
            ollama_url = ""
            max_connections = 4096
            max_body = "64MB"
            [chatd.openrouter]
            base_url = "{URL}/whole"
            [chatd.opencode]
            base_url = "{URL}/burst"
            [chatd.kimi]
            base_url = "{URL}/slow"
            wire = "chat"
            [models]
            {tiers}""")
        config = self.directory / "lakehouse.toml"
        command = [sys.executable, "-m", "lakehouse", "serve", "-c", str(config), "--bind", f"127.0.0.1:{PORT}"]
        keys = {name: "bench" for name in ("LAKEHOUSE_TOKEN", "OPENROUTER_API_KEY", "OPENCODE_API_KEY", "KIMI_API_KEY")}
        return self.up([*command, "--workers", str(self.workers)], core=core, env=keys)[0]

    TOKEN = "authorization: Bearer bench"

    def get(self, path: str = "/v1/storage/1k") -> Target:
        return Target(port=PORT, path=path.replace("/v1/down", "/v1/storage/down"), headers=[self.TOKEN])

    def post(self) -> Target:
        return Target(port=PORT, path="/v1/storage/up", headers=[self.TOKEN])

    def chat(self, kind: str, *, size: int = 0) -> Target:
        model = {"whole": "openrouter/m", "burst": "opencode/m", "slow": "kimi/m"}[kind]
        body = conversation(model, stream=kind != "whole", size=size)
        return Target(port=PORT, path="/v1/chat/completions", headers=[JSON, self.TOKEN], body=body)


class Stock(Peer):
    name = "stock Quart-Trio + httpx"

    def start(self, *, core: int) -> Running:
        (self.directory / "hypercorn.toml").write_text(
            f'bind = ["127.0.0.1:{PORT}"]\nworker_class = "trio"\nworkers = 1\nbacklog = 4096\nkeep_alive_timeout = 75\nkeep_alive_max_requests = 1000000000\n'
        )
        config = str(self.directory / "hypercorn.toml")
        return self.up([sys.executable, "-m", "hypercorn", "-c", config, "tools.bench.stock:app"], core=core)[0]

    def chat(self, kind: str, *, size: int = 0) -> Target:
        body = conversation(kind, stream=kind != "whole", size=size)
        return Target(port=PORT, path="/v1/chat/completions", headers=[JSON], body=body)


class LiteLLM(Peer):
    name = "LiteLLM"

    @property
    def venv(self) -> Path:
        return self.directory / "venv"

    def install(self) -> None:
        if (self.venv / "bin" / "litellm").exists():
            return
        _run([sys.executable, "-m", "venv", str(self.venv)])
        _run([str(self.venv / "bin" / "pip"), "install", "-q", LITELLM])

    def start(self, *, core: int) -> Running:
        models = [
            {
                "model_name": kind,
                "litellm_params": {"model": "openai/m", "api_base": f"{URL}/{kind}", "api_key": "bench"},
            }
            for kind in ("whole", "burst", "slow")
        ]
        (self.directory / "config.yaml").write_text(
            json.dumps({"model_list": models, "general_settings": {"master_key": "sk-bench"}})
        )
        command = [
            str(self.venv / "bin" / "litellm"),
            "--config",
            str(self.directory / "config.yaml"),
            "--host",
            "127.0.0.1",
            "--port",
            str(PORT),
        ]
        env = {
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "PATH": f"{self.venv}/bin:{os.environ['PATH']}",
        }
        return self.up([*command, "--num_workers", "1"], core=core, env=env)[0]

    def get(self, path: str = "/v1/storage/1k") -> None:
        return None

    def post(self) -> None:
        return None

    def chat(self, kind: str, *, size: int = 0) -> Target:
        body = conversation(kind, stream=kind != "whole", size=size)
        return Target(
            port=PORT, path="/v1/chat/completions", headers=[JSON, "authorization: Bearer sk-bench"], body=body
        )


class Portkey(Peer):
    name = "Portkey"

    def install(self) -> None:
        if not shutil.which("npm"):
            raise RuntimeError("not installed: it needs Node.js and npm")
        if not self.program.exists():
            _run(["npm", "install", "--silent", "--prefix", str(self.directory), PORTKEY])

    @property
    def program(self) -> Path:
        return self.directory / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"

    def start(self, *, core: int) -> Running:
        env = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"}
        return self.up(["node", str(self.program), "--headless", f"--port={PORT}"], core=core, env=env)[0]

    def get(self, path: str = "/v1/storage/1k") -> None:
        return None

    def post(self) -> None:
        return None

    def chat(self, kind: str, *, size: int = 0) -> Target:
        headers = [
            JSON,
            "authorization: Bearer bench",
            "x-portkey-provider: openai",
            f"x-portkey-custom-host: {URL}/{kind}",
        ]
        body = conversation("m", stream=kind != "whole", size=size)
        return Target(port=PORT, path="/v1/chat/completions", headers=headers, body=body)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"cannot be installed: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")


PEERS: tuple[type[Peer], ...] = (Direct, Nginx, Caddy, Lakehouse, Portkey, Stock, LiteLLM)
