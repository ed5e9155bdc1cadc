"""Gateways that understand chats: ours, its peers, and what one gets from the parts as they come."""

from __future__ import annotations

import json
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

from tools.bench.load import Target
from tools.bench.peer import JSON, PORT, Peer, conversation, printed, run
from tools.bench.process import Running
from tools.bench.upstream import URL

KEYS = ("LAKEHOUSE_TOKEN", "OPENROUTER_API_KEY", "OPENCODE_API_KEY", "KIMI_API_KEY")
KINDS = ("whole", "first", "burst", "slow")
LITELLM = "litellm[proxy]==1.108.7"
PORTKEY: dict[str, dict[str, str]] = {
    "dependencies": {"@portkey-ai/gateway": "1.15.2"},
    # With a later one every stream is answered 500: https://github.com/Portkey-AI/gateway/issues/1389
    "overrides": {"@hono/node-server": "1.14.1"},
}


class Lakehouse(Peer):
    """Ours, with authentication, deadlines, log and metrics on."""

    name = "Lakehouse"

    def __init__(
        self,
        directory: Path,
        *,
        upstream: str = URL,
        port: int = PORT,
        workers: int = 1,
        tiers: int = 0,
        options: str = "",
        module: str = "lakehouse",
    ) -> None:
        """`options` are more of the configuration, as TOML; `module` is the program."""
        super().__init__(directory, upstream=upstream, port=port)
        self.workers, self.tiers, self.options, self.module = workers, tiers, options, module

    def write_configuration(self) -> Path:
        """Write the configuration, and return its path."""
        tiers = "".join(f'tier{i} = "openrouter/m{i}"\n' for i in range(self.tiers))
        config = self.directory / "lakehouse.toml"
        config.write_text(f"""
            [gateway]
            storaged_url = "{self.upstream}"
            max_connections = 4096
            [chatd]
            ollama_url = ""
            max_connections = 4096
            max_body = "64MB"
            [chatd.openrouter]
            base_url = "{self.upstream}/whole"
            [chatd.opencode]
            base_url = "{self.upstream}/burst"
            [chatd.kimi]
            base_url = "{self.upstream}/slow"
            wire = "chat"
            [models]
            {tiers}
            {self.options}""")
        return config

    def start(self, *, cores: str) -> Running:
        config = self.write_configuration()
        command = [sys.executable, "-m", self.module, "serve", "-c", str(config), "--bind", f"127.0.0.1:{self.port}"]
        keys = dict.fromkeys(KEYS, "bench")
        return self.up([*command, "--workers", str(self.workers)], cores=cores, env=keys)

    TOKEN = "authorization: Bearer bench"

    def get(self, path: str = "/1k") -> Target:
        return Target(port=self.port, path=f"/v1/storage{path}", headers=[self.TOKEN])

    def chat(self, kind: str, *, size: int = 0) -> Target:
        model = {"whole": "openrouter/m", "first": "openrouter/m", "burst": "opencode/m", "slow": "kimi/m"}[kind]
        body = conversation(model, stream=kind != "whole", size=size)
        return Target(port=self.port, path="/v1/chat/completions", headers=[JSON, self.TOKEN], body=body)


class Stock(Peer):
    """The small program in `stock.py`."""

    name = "stock Quart-Trio + httpx"

    def version(self) -> str:
        return ", ".join(f"{name} {version(name)}" for name in ("hypercorn", "quart-trio", "httpx"))

    def start(self, *, cores: str) -> Running:
        config = self.directory / "hypercorn.toml"
        lines = [f'bind = ["127.0.0.1:{PORT}"]', 'worker_class = "trio"', "workers = 1", "backlog = 4096"]
        lines += ["keep_alive_timeout = 75", "keep_alive_max_requests = 1000000000"]
        config.write_text("\n".join(lines))
        command = [sys.executable, "-m", "hypercorn", "-c", str(config), "tools.bench.stock:app"]
        return self.up(command, cores=cores, env={"UPSTREAM": self.upstream})

    def chat(self, kind: str, *, size: int = 0) -> Target:
        body = conversation(kind, stream=kind != "whole", size=size)
        return Target(port=PORT, path="/v1/chat/completions", headers=[JSON], body=body)


class LiteLLM(Peer):
    """At the settings for production of its own documentation: https://docs.litellm.ai/docs/proxy/prod"""

    name = "LiteLLM"

    def version(self) -> str:
        return LITELLM.rpartition("==")[2]

    @property
    def venv(self) -> Path:
        return self.directory / "venv"

    def install(self) -> None:
        if (self.venv / "bin" / "litellm").exists():
            return
        run([sys.executable, "-m", "venv", str(self.venv)])
        run([str(self.venv / "bin" / "pip"), "install", "-q", LITELLM])

    def start(self, *, cores: str) -> Running:
        models = [{"model_name": kind, "litellm_params": self._route(kind)} for kind in KINDS]
        config = self.directory / "config.yaml"
        config.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": "sk-bench"}}))
        command = [str(self.venv / "bin" / "litellm"), "--config", str(config), "--num_workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(PORT)]
        env = {
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "PATH": f"{self.venv}/bin:{os.environ['PATH']}",
        }
        return self.up(command, cores=cores, env=env)

    def _route(self, kind: str) -> dict[str, str]:
        return {"model": "openai/m", "api_base": f"{self.upstream}/{kind}", "api_key": "bench"}

    def get(self, path: str = "/1k") -> None:  # noqa: ARG002 - it has no relay that is not about models
        return None

    def chat(self, kind: str, *, size: int = 0) -> Target:
        body = conversation(kind, stream=kind != "whole", size=size)
        headers = [JSON, "authorization: Bearer sk-bench"]
        return Target(port=PORT, path="/v1/chat/completions", headers=headers, body=body)


class Portkey(Peer):
    """Open source, as `npx @portkey-ai/gateway` runs it."""

    name = "Portkey"

    def version(self) -> str:
        return f"{PORTKEY['dependencies']['@portkey-ai/gateway']}, Node.js {printed(['node', '--version'])}"

    def install(self) -> None:
        if not shutil.which("npm"):
            raise RuntimeError("not installed: it needs Node.js and npm")
        if not self.program.exists():
            (self.directory / "package.json").write_text(json.dumps(PORTKEY))
            run(["npm", "install", "--silent", "--prefix", str(self.directory)])

    @property
    def program(self) -> Path:
        return self.directory / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"

    def start(self, *, cores: str) -> Running:
        env = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"}
        return self.up(["node", str(self.program), "--headless", f"--port={PORT}"], cores=cores, env=env)

    def get(self, path: str = "/1k") -> Target:
        return Target(port=PORT, path=f"/v1{path}", headers=self._headers("storage"))

    def post(self) -> None:
        """It takes JSON, forms, audio and images only, and reads them whole."""
        return

    def chat(self, kind: str, *, size: int = 0) -> Target:
        body = conversation("m", stream=kind != "whole", size=size)
        return Target(port=PORT, path="/v1/chat/completions", headers=[JSON, *self._headers(kind)], body=body)

    def _headers(self, path: str) -> list[str]:
        key, provider = "authorization: Bearer bench", "x-portkey-provider: openai"
        return [key, provider, f"x-portkey-custom-host: {self.upstream}/{path}"]
