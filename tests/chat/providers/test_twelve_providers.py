"""Twelve configured providers over the four wires, behind the whole service, in every form of its clients."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import trio

from lakehouse.testing.upstreams import open_upstream
from tools.kit.in_process_service import client_of, make_config, open_service
from tools.kit.service_with_providers import HELLO, answer_hello

WIRES = {
    "chat_completions": "/chat/completions",
    "responses": "/responses",
    "messages": "/messages",
    "ollama": "/api/chat",
}
NAMES = [f"{wire.replace('_', '-')}-{number}" for wire in WIRES for number in range(3)]

FORMS: dict[str, dict[str, Any]] = {
    "/v1/chat": {"messages": HELLO},
    "/v1/chat/completions": {"messages": HELLO},
    "/v1/messages": {"messages": HELLO, "max_tokens": 100},
    "/v1/responses": {"input": "Hello?"},
    "/api/chat": {"messages": HELLO},
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_twelve_providers_answer_in_every_form(stream: bool) -> None:
    with trio.fail_after(60):
        async with open_upstream(answer_hello) as upstream:
            tables = {
                name: {
                    "wire": name.rpartition("-")[0].replace("-", "_"),
                    "base_url": f"{upstream.url}/{name}",
                    "key_env": f"KEY_{number}",
                }
                for number, name in enumerate(NAMES)
            }
            env = {f"KEY_{number}": f"secret-{number}" for number in range(len(NAMES))}
            config = make_config(providers=tables, chatd={"ollama_url": ""})
            async with open_service(config, env=env) as service, client_of(service) as client:
                for path, fields in FORMS.items():
                    for name in NAMES:
                        answer = await client.post(path, json={"model": f"{name}/m", "stream": stream, **fields})
                        assert answer.status_code == 200, answer.text
                        assert "lo." in answer.text
                listed = await client.get("/v1/chat/providers")
    assert [provider["name"] for provider in listed.json()["providers"]] == NAMES
    asked = Counter(
        (request.target, request.headers.get("x-api-key") or request.headers["authorization"])
        for request in upstream.requests
    )
    expected = {
        (f"/{name}{WIRES[wire]}", f"secret-{number}" if wire == "messages" else f"Bearer secret-{number}"): len(FORMS)
        for number, name in enumerate(NAMES)
        for wire in [name.rpartition("-")[0].replace("-", "_")]
    }
    assert asked == expected


async def test_a_client_is_relayed_over_its_own_wire_where_the_provider_has_it() -> None:
    with trio.fail_after(20):
        async with open_upstream(answer_hello) as upstream:
            lab = {"wire": ["chat_completions", "messages"], "base_url": f"{upstream.url}/v1"}
            config = make_config(providers={"lab": lab}, chatd={"ollama_url": ""})
            async with open_service(config, env={}) as service, client_of(service) as client:
                for path, fields in FORMS.items():
                    document = {"model": "lab/m", **fields, "metadata": {"user_id": "u"}}
                    answer = await client.post(
                        path, json=document if path == "/v1/messages" else {"model": "lab/m", **fields}
                    )
                    assert answer.status_code == 200, answer.text
    asked = dict(zip(FORMS, upstream.requests, strict=True))
    assert {path: request.target for path, request in asked.items()} == {
        path: "/v1/messages" if path == "/v1/messages" else "/v1/chat/completions" for path in FORMS
    }
    assert asked["/v1/messages"].json["metadata"] == {"user_id": "u"}
