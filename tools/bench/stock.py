"""What one gets from the parts as they come: Quart-Trio under Hypercorn, httpx.AsyncClient, no features."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import httpx
from quart import Response, request
from quart_trio import QuartTrio

UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:9000")

app = QuartTrio(__name__)
app.config.update(RESPONSE_TIMEOUT=None, BODY_TIMEOUT=None, MAX_CONTENT_LENGTH=None)
client = httpx.AsyncClient(
    timeout=None,
    trust_env=False,
    limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
)


@app.get("/v1/storage/<path:rest>")
async def relay(rest: str) -> Response:
    upstream = await client.send(client.build_request("GET", f"{UPSTREAM}/storage/{rest}"), stream=True)

    async def body() -> AsyncIterator[bytes]:
        async for chunk in upstream.aiter_raw():
            yield chunk
        await upstream.aclose()

    return Response(body(), upstream.status_code, dict(upstream.headers))


@app.post("/v1/storage/<path:rest>")
async def upload(rest: str) -> Response:
    upstream = await client.post(f"{UPSTREAM}/storage/{rest}", content=request.body)
    return Response(upstream.content, upstream.status_code)


@app.post("/v1/chat/completions")
async def chat() -> Response:
    asked = await request.get_json()
    kind = asked["model"]
    if not asked.get("stream"):
        upstream = await client.post(f"{UPSTREAM}/{kind}/chat/completions", json=asked)
        return Response(httpx.Response(200, json=upstream.json()).content, 200, content_type="application/json")

    async def events() -> AsyncIterator[bytes]:
        async with client.stream("POST", f"{UPSTREAM}/{kind}/chat/completions", json=asked) as upstream:
            async for line in upstream.aiter_lines():
                if line:
                    yield f"{line}\n\n".encode()

    return Response(events(), 200, content_type="text/event-stream")
