"""Reloads of a running service: what new requests get, what requests in flight keep, and what is refused as a whole."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from lakehouse.config import Config
from lakehouse.config.document import encode_config
from lakehouse.runtime.reload.changes import compare_configs
from lakehouse.testing.upstreams import ReceivedRequest, ScriptedUpstream, open_upstream, respond
from tools.kit.in_process_service import client_of, make_config, open_service
from tools.kit.reload_load import KEY_NAME, NAMES, LoadProvider, key_of, run_reloads
from tools.kit.service_with_providers import HELLO, answer_hello, chunk, completion
from tools.kit.sse import sse_documents

RELOAD = "/v1/reload"
KEYS = {"OPENROUTER_API_KEY": "sk-or-v1-routersecret"}


class Model:
    """A provider in the form of chat completions. Its streams have two pieces; the second waits for `release`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.release = trio.Event()

    async def answer(self, asked: ReceivedRequest, stream: trio.SocketStream) -> None:
        if not asked.json.get("stream"):
            await stream.send_all(respond(completion(self.name)))
            return
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        await stream.send_all(head + _event(chunk(role="assistant", content=f"{self.name} ")))
        await self.release.wait()
        await stream.send_all(_event(chunk(content=self.name)) + _event(chunk("stop")) + b"data: [DONE]\n\n")
        await stream.aclose()


def _event(document: Mapping[str, object]) -> bytes:
    return f"data: {json.dumps(document)}\n\n".encode()


@dataclass
class Reloadable:
    """A service whose configuration is made of `tables`, which the test changes, and a client of it."""

    client: httpx.AsyncClient
    port: int
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def reload(self, **tables: dict[str, Any]) -> httpx.Response:
        """Replace tables of the file, and reload."""
        self.tables.update(tables)
        return await self.client.post(RELOAD)

    async def ask(self, model: str = "openrouter/m") -> str:
        """The answer's text, or the status of a failure."""
        response = await self.send(model)
        if response.status_code != 200:
            return str(response.status_code)
        return str(response.json()["choices"][0]["message"]["content"])

    async def send(self, model: str = "openrouter/m") -> httpx.Response:
        return await self.client.post("/v1/chat/completions", json={"model": model, "messages": HELLO})

    def stream(self, model: str = "openrouter/m") -> Any:
        return self.client.stream(
            "POST", "/v1/chat/completions", json={"model": model, "messages": HELLO, "stream": True}
        )


@asynccontextmanager
async def open_reloadable(env: Mapping[str, str] | None = None, **tables: dict[str, Any]) -> AsyncIterator[Reloadable]:
    """The service for the block. A table that is not given has its defaults; nothing is embedded."""
    file = dict(tables)

    def read() -> Config:
        return make_config(**file)

    async with (
        open_service(read(), env=KEYS if env is None else env, read_config=read) as service,
        client_of(service) as client,
    ):
        yield Reloadable(client, int(service.urls[0].rpartition(":")[2]), file)


def chatd(there: ScriptedUpstream, **more: Any) -> dict[str, Any]:
    """The table with OpenRouter at an upstream."""
    return {"openrouter": {"base_url": there.url, "key_file": ""}, "policy": {"retries": 0}, **more}


def texts(events: Iterable[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


async def test_new_requests_get_the_new_provider_and_a_stream_ends_with_the_one_it_began_with() -> None:
    former, present = Model("former"), Model("present")
    async with (
        open_upstream(former.answer) as first,
        open_upstream(present.answer) as second,
        open_reloadable(chatd=chatd(first)) as service,
    ):
        assert await service.ask() == "former"
        async with service.stream() as streamed:
            pieces = streamed.aiter_text()
            begun = await anext(pieces)
            while "former" not in begun:
                begun += await anext(pieces)
            response = await service.reload(chatd=chatd(second))
            assert (response.status_code, response.json()) == (
                200,
                {"changed": ["chatd.openrouter.base_url"], "needs_restart": []},
            )
            assert await service.ask() == "present"
            former.release.set()
            rest = "".join([piece async for piece in pieces])
        assert texts(sse_documents(begun + rest)) == "former former"
        with trio.fail_after(5):  # with its last request the former pool is closed, its idle connection too
            while first.closed < first.opened:
                await trio.sleep(0.001)
        assert second.closed == 0


async def test_an_invalid_file_changes_nothing_and_all_its_problems_are_said() -> None:
    async with open_upstream(Model("former").answer) as there, open_reloadable(chatd=chatd(there)) as service:
        wrong = chatd(there, timeout="soon", default="local")
        response = await service.reload(chatd=wrong, gateway={"connect_timeout": 0}, auth={"token_file": "/no/such"})
        assert response.status_code == 422
        error = response.json()["error"]
        problems = error["details"]["problems"]
        assert [problem.partition(" ")[0] for problem in problems] == [
            "chatd.timeout",
            "gateway.connect_timeout",
            "auth.token_file",
            "chatd.default",
        ]
        assert all(problem in error["message"] for problem in problems)
        assert await service.ask() == "former"
        nothing = await service.reload(chatd=chatd(there), gateway={}, auth={})
        assert nothing.json() == {"changed": [], "needs_restart": []}


async def test_keys_and_tokens_in_files_are_read_again(tmp_path: Path) -> None:
    key, tokens = tmp_path / "key.env", tmp_path / "tokens"
    key.write_text("OPENROUTER_API_KEY=sk-or-first")
    tokens.write_text("first-token")
    async with open_upstream(answer_hello) as there:
        settings = chatd(there)
        settings["openrouter"]["key_file"] = str(key)
        async with open_reloadable(env={}, chatd=settings, auth={"token_file": str(tokens)}) as service:
            service.client.headers["authorization"] = "Bearer first-token"
            assert await service.ask() == "Hello."
            key.write_text("OPENROUTER_API_KEY=sk-or-second")
            tokens.write_text("second-token")
            response = await service.reload()
            assert response.json()["changed"] == ["auth.token_file", "chatd.openrouter.key_file"]
            assert await service.ask() == "401"
            service.client.headers["authorization"] = "Bearer second-token"
            assert await service.ask() == "Hello."
            assert [asked.headers["authorization"] for asked in there.requests] == [
                "Bearer sk-or-first",
                "Bearer sk-or-second",
            ]
            key.unlink()
            assert (await service.reload()).json()["changed"] == ["chatd.openrouter.key_file"]
            assert (await service.send()).json()["error"]["code"] == "model_not_found"
            listed = (await service.client.get("/v1/chat/providers")).json()
            assert "openrouter" not in json.dumps(listed)


async def test_what_needs_a_restart_is_named_and_left_as_it_is() -> None:
    async with open_upstream(answer_hello) as there, open_reloadable(chatd=chatd(there)) as service:
        response = await service.reload(
            gateway={"bind": "127.0.0.1:1", "queryd_url": there.url},
            lake={"engines": 2},
            models={"judge": "openrouter/m"},
            server={"drain_timeout": 1},
        )
        needed = ["gateway.bind", "gateway.queryd_url", "server.drain_timeout", "lake.engines"]
        assert response.json() == {"changed": ["models.judge"], "needs_restart": needed}
        assert await service.ask("judge") == "Hello."
        again = await service.reload()
        assert again.json() == {"changed": [], "needs_restart": needed}


async def test_a_service_that_other_machines_reach_does_not_lose_its_last_token(tmp_path: Path) -> None:
    """Although the file would be valid at a start, in which the address would change as well."""
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token")
    auth = {"token_file": str(tokens)}
    async with open_reloadable(env={}, gateway={"bind": "0.0.0.0:0"}, auth=auth) as service:
        service.client.headers["authorization"] = "Bearer a-token"
        response = await service.reload(gateway={"bind": "127.0.0.1:0"}, auth={})
        assert response.status_code == 422
        assert "gateway.bind 0.0.0.0:0 can be reached from other machines" in response.json()["error"]["message"]
        assert (await service.client.get("/v1/chat/providers")).status_code == 200
        del service.client.headers["authorization"]
        assert (await service.client.get("/v1/chat/providers")).status_code == 401


async def test_former_and_new_values_that_do_not_go_together_are_refused() -> None:
    """The file is valid: the listener for Ollama's clients moves away from where it looks for Ollama."""
    async with open_upstream(answer_hello) as there, open_reloadable(ollama={"bind": "127.0.0.1:0"}) as service:
        port = int(there.url.rpartition(":")[2])
        assert (await service.reload(ollama={"bind": f"127.0.0.1:{port}"})).json()["needs_restart"] == ["ollama.bind"]
    async with open_reloadable(ollama={"bind": f"127.0.0.1:{port}"}) as service:
        response = await service.reload(chatd={"ollama_url": there.url}, ollama={"bind": "127.0.0.1:0"})
        (problem,) = response.json()["error"]["details"]["problems"]
        assert problem.startswith("chatd.ollama_url leads to ollama.bind")


async def test_the_rest_of_a_generation_follows() -> None:
    """Origins, upstreams of the gateway, limits of sessions, metrics."""
    async with (
        open_upstream(Model("former").answer) as there,
        open_upstream(answer_hello) as storage,
        open_reloadable(chatd=chatd(there), gateway={"storaged_url": "http://127.0.0.1:1"}) as service,
    ):
        page = {"origin": "https://app.example"}
        assert "access-control-allow-origin" not in (await service.client.get("/healthz", headers=page)).headers
        assert (await service.client.get("/v1/storage/x")).status_code == 502
        response = await service.reload(
            auth={"origins": ["https://app.example"]},
            gateway={"storaged_url": storage.url},
            observerd={"limits": {"calls_per_minute": 1}},
            sessions={"max_sessions": 10},
        )
        assert response.json()["changed"] == [
            "gateway.storaged_url",
            "auth.origins",
            "sessions.max_sessions",
            "observerd.limits.calls_per_minute",
        ]
        response = await service.client.get("/v1/storage/x", headers=page)
        assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, page["origin"])
        service.client.headers["x-session-id"] = "a-run"
        assert [await service.ask(), await service.ask()] == ["former", "400"]
        del service.client.headers["x-session-id"]
        await service.reload(observerd={}, models={"later": "openrouter/m"})
        assert await service.ask("later") == "former"
        metrics = (await service.client.get("/metrics")).text
        assert 'provider="openrouter",tier="later"} 7.0' in metrics


async def test_a_configuration_of_a_program_cannot_be_read_again() -> None:
    async with open_service(make_config()) as service, client_of(service) as client:
        response = await client.post(RELOAD)
        assert (response.status_code, response.json()["error"]["code"]) == (501, "ErrNotImplemented")
        assert (await client.get(RELOAD)).status_code == 405


async def test_sighup_reloads_and_a_problem_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with open_upstream(answer_hello) as there, open_reloadable(chatd=chatd(there)) as service:
        service.tables["models"] = {"judge": "openrouter/m"}
        os.kill(os.getpid(), signal.SIGHUP)
        with trio.fail_after(20):
            while await service.ask("judge") != "Hello.":
                await trio.sleep(0.01)
        service.tables["models"] = {"judge": "openrouter/"}
        os.kill(os.getpid(), signal.SIGHUP)
        with trio.fail_after(20):
            while "the configuration was not reloaded: models.judge must name a model" not in caplog.text:
                await trio.sleep(0.01)
        assert await service.ask("judge") == "Hello."


@pytest.mark.extended
async def test_reloads_under_load_fail_no_request_and_leave_nothing() -> None:
    providers = [LoadProvider(name) for name in NAMES]
    async with AsyncExitStack() as stack:
        urls = {
            provider.name: (await stack.enter_async_context(open_upstream(provider.answer))).url
            for provider in providers
        }
        keys = dict(KEYS)
        service = await stack.enter_async_context(open_reloadable(env=keys, chatd={}))

        def switch(name: str) -> None:
            keys[KEY_NAME] = key_of(name)
            service.tables["chatd"] = {"openrouter": {"base_url": urls[name], "key_file": ""}}

        run = partial(run_reloads, service.port, providers, switch)
        await run(reloads=1, connections=2, staying=0)  # loads what is lazy
        await service.reload()  # with the last generation, its idle connections are gone
        before = count_tasks(), count_descriptors()
        result = await run(reloads=50, connections=8, staying=3)
        assert result.failures == []
        assert [provider.wrong_keys for provider in providers] == [0, 0]
        assert all(result.answered[name] > 25 for name in NAMES)
        await service.reload()
        with trio.fail_after(20):
            while count_tasks() > before[0] or count_descriptors() > before[1]:
                await trio.sleep(0.01)


async def test_a_reload_whose_client_leaves_changes_nothing_and_leaves_nothing() -> None:
    entered, left = threading.Event(), threading.Event()
    tables: dict[str, dict[str, Any]] = {"models": {}}
    first = True

    def read() -> Config:
        nonlocal first
        if not first:
            entered.set()
            assert left.wait(20)
        first = False
        return make_config(**tables)

    async with open_service(read(), read_config=read) as service, client_of(service) as client:
        await client.get("/healthz")
        before = count_tasks()
        tables["models"] = {"judge": "ollama/m"}
        with trio.move_on_after(20) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.post, RELOAD)
                await trio.to_thread.run_sync(entered.wait)
                nursery.cancel_scope.cancel()
        assert not scope.cancelled_caught
        left.set()
        with trio.fail_after(20):
            while count_tasks() > before:
                await trio.sleep(0.001)
        assert (await client.post(RELOAD)).json()["changed"] == ["models.judge"]


def count_tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


def count_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_each_key_that_differs_is_named_also_where_only_a_password_does() -> None:
    lab = {"wire": "messages", "base_url": "http://127.0.0.1:1/v1", "key_env": ""}
    running = make_config(
        gateway={"storaged_url": "http://u:first@h"}, providers={"lab": lab}, models={"a": "ollama/m"}
    )
    new = make_config(
        gateway={"storaged_url": "http://u:second@h"},
        providers={"lab": {**lab, "models": {"m": {"tools": True}}}, "other": lab},
        models={"b": "ollama/m"},
    )
    changes = compare_configs(running, new)
    assert changes.changed == (
        "gateway.storaged_url",
        "providers.lab.models.m",
        "providers.other",
        "models.a",
        "models.b",
    )
    assert (changes.needs_restart, encode_config(changes.effective)) == ((), encode_config(new))
