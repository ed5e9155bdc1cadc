"""llama.cpp's own server as a provider of the table: asked what it speaks, then chatted with, whole and streamed."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
import trio

from lakehouse.chat.dispatch.open_dispatcher import open_service_dispatcher
from lakehouse.chat.model.pieces import Done
from lakehouse.cli.discovery.endpoint_client import EndpointClient
from lakehouse.cli.discovery.wires import discover
from lakehouse.config import LocalTable, parse_config
from lakehouse.runtime.resources import open_local_server
from lakehouse.upstream.pool import Upstream
from tools.kit.fake_providers import ask

pytest.importorskip("xllamacpp", reason="the extra `local` is not installed")


async def test_the_server_of_llama_cpp_is_driven_through_an_entry() -> None:
    with trio.fail_after(120):
        async with open_local_server(LocalTable(demo=True)) as server:
            assert server.readiness is not None
            await server.readiness.wait_serving()
            parts = urlsplit(server.base_url)
            said: list[str] = []
            pool = Upstream(f"{parts.scheme}://{parts.netloc}", name="llama.cpp")
            found = await discover(EndpointClient(pool, server.api_key, said.append), "http://here", parts.path)
            pool.close()
            assert "chat_completions" in found.wires, said
            assert len(found.models) == 1
            for wire in found.wires:
                own = {"wire": wire, "base_url": server.base_url, "key_env": "LLAMA_KEY"}
                tables = {"lab": own, "llamacpp": {"base_url": server.base_url, "key_env": "LLAMA_KEY"}}
                config = parse_config({"providers": tables, "chatd": {"ollama_url": ""}}).config
                async with open_service_dispatcher(config, env={"LLAMA_KEY": server.api_key}) as dispatcher:
                    for name in tables:
                        answer = await dispatcher(ask(f"{name}/{server.model}", max_tokens=16))
                        assert answer.provider == name
                        assert answer.output_tokens in range(1, 17)
                        async with dispatcher.stream(ask(f"{name}/{server.model}", max_tokens=16)) as pieces:
                            done = [piece async for piece in pieces][-1]
                        assert isinstance(done, Done)
                        assert done.output_tokens in range(1, 17)
                    listed = await dispatcher.models()
                    assert [card.owned_by for card in listed] == ["llamacpp", "lab"]
