"""Two real Ollamas as hosts of one provider of the table. Skipped where the program `ollama` is not installed."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL

import httpx
import pytest
import trio

from lakehouse.chat.dispatch.open_dispatcher import open_service_dispatcher
from lakehouse.cli.discovery.endpoint_client import EndpointClient
from lakehouse.cli.discovery.wires import discover
from lakehouse.config import parse_config
from lakehouse.local_model import demo
from lakehouse.upstream.pool import Upstream
from tools.kit.fake_providers import ask

pytest.importorskip("gguf", reason="the extra `local` is not installed")

PROGRAM = shutil.which("ollama")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="ollama is not installed")

MODEL = "demo:latest"


def find_free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@asynccontextmanager
async def open_ollama(directory: Path) -> AsyncIterator[str]:
    """A server whose models are in a directory; yields its URL."""
    url = f"http://127.0.0.1:{find_free_port()}"
    process = await trio.lowlevel.open_process(
        [PROGRAM or "", "serve"], env=make_environment(directory, url), stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        async with httpx.AsyncClient() as client:
            while True:
                try:
                    await client.get(f"{url}/api/version")
                    break
                except httpx.ConnectError:
                    await trio.sleep(0.05)
        yield url
    finally:
        process.terminate()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 10):
            await process.wait()


def make_environment(directory: Path, url: str) -> dict[str, str]:
    own = {"HOME": directory, "OLLAMA_HOST": url, "OLLAMA_MODELS": directory / "models", "OLLAMA_CONTEXT_LENGTH": 512}
    return {**os.environ, **{name: str(value) for name, value in own.items()}}


async def create_model(directory: Path, url: str) -> None:
    """Create `demo` from the demonstration's random weights."""
    await trio.to_thread.run_sync(demo.build, directory / "demo.gguf")
    (directory / "Modelfile").write_text(f"FROM {directory}/demo.gguf\nPARAMETER num_predict 4\n")
    command = [PROGRAM or "", "create", "demo", "-f", str(directory / "Modelfile")]
    await trio.run_process(command, env=make_environment(directory, url), capture_stdout=True, capture_stderr=True)


async def test_two_ollamas_are_hosts_of_one_provider(tmp_path: Path) -> None:
    with trio.fail_after(240):
        async with AsyncExitStack() as stack:
            first, second = [await stack.enter_async_context(open_ollama(tmp_path)) for _ in range(2)]
            await create_model(tmp_path, first)
            pool = Upstream(first, name="ollama")
            found = await discover(EndpointClient(pool, "", lambda _: None), first, "")
            pool.close()
            assert (found.wires, found.base_url) == (("ollama",), first)
            assert [model.name for model in found.models] == [MODEL]

            async with httpx.AsyncClient(timeout=120) as client:  # has the model loaded by the second one
                await client.post(f"{second}/api/generate", json={"model": "demo", "keep_alive": "10m"})
            lab = {"wire": "ollama", "base_url": [first, second]}
            config = parse_config({"providers": {"lab": lab}, "chatd": {"ollama_url": ""}}).config
            async with open_service_dispatcher(config, env={}) as dispatcher:
                assert [card.id for card in await dispatcher.models()] == [f"lab/{MODEL}"]
                for _ in range(3):
                    answer = await dispatcher(ask("lab/demo"))
                    assert answer.output_tokens
                async with dispatcher.stream(ask("lab/demo")) as pieces:
                    assert [piece async for piece in pieces]
                async with httpx.AsyncClient() as client:
                    loaded = [(await client.get(f"{url}/api/ps")).json()["models"] for url in (first, second)]
                assert [len(models) for models in loaded] == [0, 1], "the one that had to load it was not asked"
