"""What an endpoint is asked, and the lines that are written from its answers."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import trio

from lakehouse.cli.discovery.endpoint_client import EndpointClient
from lakehouse.cli.discovery.listed_models import ListedFacts, read_models
from lakehouse.cli.discovery.provider_lines import choose_name, write_provider
from lakehouse.cli.discovery.wires import DiscoveredProvider, discover, split_base_url
from lakehouse.config import ModelTable, list_entries, parse_config
from lakehouse.testing.upstreams import ReceivedRequest, ScriptedUpstream, open_upstream, respond
from lakehouse.upstream.pool import Upstream
from tools.kit.in_process_service import make_config, open_service

KEY = "the-secret-key"

Answer = tuple[int, dict[str, Any]]
INVALID: Answer = (400, {"error": {"message": "model is required"}})
NO_PATH: Answer = (404, {"error": {"message": "no such path"}})
REFUSED: Answer = (401, {"error": {"message": "bad key"}})
LIST: Answer = (200, {"data": [{"id": "a/b.c", "max_model_len": 4096}, {"id": "plain"}, {"no": "id"}]})


class Server:
    """Answers by path; a path that is not listed is a 404. With `needs_key`, a request without it is refused."""

    def __init__(
        self, answers: Mapping[str, Answer], needs_key: Callable[[ReceivedRequest], bool] | None = None
    ) -> None:
        self.answers = answers
        self.needs_key = needs_key

    async def __call__(self, asked: ReceivedRequest, stream: trio.SocketStream) -> None:
        status, document = self.answers.get(asked.target, NO_PATH)
        if self.needs_key is not None and not self.needs_key(asked):
            status, document = REFUSED
        is_ollama = asked.target == "/" and "/api/tags" in self.answers
        await stream.send_all(respond(b"Ollama is running") if is_ollama else respond(document, status))


async def ask(
    server: Server, path: str = "/v1", key: str = ""
) -> tuple[DiscoveredProvider, ScriptedUpstream, list[str]]:
    said: list[str] = []
    with trio.fail_after(20):
        async with open_upstream(server) as upstream:
            origin, path = split_base_url(upstream.url + path)
            pool = Upstream(origin, name="it")
            found = await discover(EndpointClient(pool, key, said.append), origin, path)
            pool.close()
    return found, upstream, said


async def test_a_server_of_chat_completions() -> None:
    server = Server({"/v1/chat/completions": INVALID, "/v1/models": LIST})
    found, upstream, said = await ask(server)
    assert found.wires == ("chat_completions",)
    assert found.base_url == f"{upstream.url}/v1"
    assert found.models == (ListedFacts(name="a/b.c", context=4096), ListedFacts(name="plain"))
    assert "POST /v1/chat/completions: 400" in said
    assert all(request.body in (b"", b"{}") for request in upstream.requests), "nothing may be generated"


async def test_a_list_that_is_no_json_is_no_list() -> None:
    class WebPage(Server):
        async def __call__(self, asked: ReceivedRequest, stream: trio.SocketStream) -> None:
            page = respond(b"<html>", content_type="text/html")
            await (stream.send_all(page) if asked.target == "/v1/models" else super().__call__(asked, stream))

    found, _, _ = await ask(WebPage({"/v1/chat/completions": INVALID}))
    assert (found.wires, found.models) == (("chat_completions",), ())


@pytest.mark.parametrize("path", ["", "/", "/v1/", "/v1/chat/completions", "/v1/models"])
async def test_the_base_url_is_found_from_what_people_copy(path: str) -> None:
    found, upstream, _ = await ask(Server({"/v1/chat/completions": INVALID}), path)
    assert (found.base_url, found.wires) == (f"{upstream.url}/v1", ("chat_completions",))


async def test_a_server_of_several_wires_and_another_root() -> None:
    paths = {f"/inference/v1{path}": INVALID for path in ("/chat/completions", "/responses", "/messages")}
    found, upstream, _ = await ask(Server(paths), "/inference/v1")
    assert found.wires == ("chat_completions", "responses", "messages")
    assert found.base_url == f"{upstream.url}/inference/v1"


async def test_a_server_that_answers_every_path_alike_tells_nothing() -> None:
    class Any400(Server):
        async def __call__(self, asked: ReceivedRequest, stream: trio.SocketStream) -> None:
            await stream.send_all(respond({}, 400))

    found, _, _ = await ask(Any400({}))
    assert (found.wires, found.refused) == ((), False)


def has_bearer(asked: ReceivedRequest) -> bool:
    return asked.headers.get("authorization") == f"Bearer {KEY}"


async def test_a_key_is_needed_and_sent_and_never_told() -> None:
    server = Server({"/v1/chat/completions": INVALID, "/v1/models": LIST}, has_bearer)
    found, _, _ = await ask(server)
    assert (found.wires, found.refused) == ((), True)
    found, _, said = await ask(server, key=KEY)
    assert found.wires == ("chat_completions",)
    assert KEY not in "".join(said)


@pytest.mark.parametrize(
    ("status", "refused"), [(401, True), (403, True), (302, False), (429, False), (502, False), (503, False)]
)
async def test_a_server_that_lets_nobody_in_speaks_nothing_yet(status: int, refused: bool) -> None:
    paths: dict[str, Answer] = {f"/v1{path}": (status, {}) for path in ("/chat/completions", "/responses", "/messages")}
    found, _, _ = await ask(Server(paths), key=KEY)
    assert (found.wires, found.refused) == ((), refused)


async def test_anthropics_key_has_a_header_of_its_own() -> None:
    server = Server({"/v1/messages": INVALID, "/v1/models": LIST}, lambda asked: asked.headers.get("x-api-key") == KEY)
    found, _, _ = await ask(server, key=KEY)
    assert (found.wires, found.quirks, len(found.models)) == (("messages",), (), 2)


async def test_a_server_of_messages_may_want_a_bearer_token() -> None:
    found, _, _ = await ask(Server({"/v1/messages": INVALID}, has_bearer), key=KEY)
    assert (found.wires, found.quirks) == (("messages",), ("bearer_key",))


async def test_an_ollama_is_asked_natively() -> None:
    shown = {"capabilities": ["completion", "tools"], "model_info": {"qwen3.context_length": 40960}}
    answers: dict[str, Answer] = {
        "/api/tags": (200, {"models": [{"name": "qwen3:8b"}]}),
        "/api/show": (200, shown),
        "/v1/chat/completions": INVALID,
    }
    found, upstream, _ = await ask(Server(answers), "/v1")
    assert (found.wires, found.base_url) == (("ollama",), upstream.url)
    abilities = {"tools": True, "images": False, "reasoning": False}
    assert found.models == (ListedFacts(name="qwen3:8b", context=40960, abilities=abilities),)


async def test_an_endpoint_that_is_not_there_is_told() -> None:
    async with open_upstream(Server({})) as upstream:
        url = upstream.url
    said: list[str] = []
    pool = Upstream(url, name="it")
    with trio.fail_after(20):
        found = await discover(EndpointClient(pool, "", said.append), url, "/v1")
    assert found == DiscoveredProvider()
    assert "refused" in said[0]


async def test_this_service_is_recognized() -> None:
    async with open_service(make_config(chatd={"ollama_url": ""}), env={}) as service:
        said: list[str] = []
        pool = Upstream(service.urls[0], name="it")
        with trio.fail_after(20):
            found = await discover(EndpointClient(pool, "", said.append), service.urls[0], "/v1")
        pool.close()
    assert found.wires == ("chat_completions", "responses", "messages"), said


def test_facts_are_read_from_the_lists_of_several_servers() -> None:
    document = {
        "data": [
            {"id": "mistral", "max_context_length": 32768, "capabilities": {"function_calling": True, "vision": False}},
            {"id": "router", "context_length": 1000, "architecture": {"input_modalities": ["text", "image"]}, "supported_parameters": ["tools"]},
            {"id": "llama", "meta": {"n_ctx_train": 2048}},
            {"id": "odd", "context_length": "long", "capabilities": ["x"]},
            {"id": "odder", "context_length": True, "max_model_len": -1},
        ]
    }  # fmt: skip
    assert read_models(document) == (
        ListedFacts(name="mistral", context=32768, abilities={"tools": True, "images": False}),
        ListedFacts(name="router", context=1000, abilities={"images": True, "tools": True, "reasoning": False}),
        ListedFacts(name="llama", context=2048),
        ListedFacts(name="odd"),
        ListedFacts(name="odder"),
    )


def test_the_lines_are_read_back_as_what_was_found() -> None:
    models = (
        ListedFacts(name='odd "name"/x', context=1),
        ListedFacts(name="m", abilities={"tools": True}),
        ListedFacts(name="bare"),
    )
    found = DiscoveredProvider(
        base_url="http://h:1/v1", wires=("chat_completions", "messages"), quirks=("bearer_key",), models=models
    )
    text = write_provider("my.lab", found, key_env="LAB")
    entry = list_entries(parse_config(tomllib.loads(text.replace("odd ", "odd"))).config)["my.lab"]
    assert (entry.wire, entry.base_url) == ({"*": ("chat_completions", "messages")}, ("http://h:1/v1",))
    assert (entry.key_env, entry.quirks) == (("LAB",), ("bearer_key",))
    assert entry.models == {"m": ModelTable(tools=True)}, "a name with white space is left out, and one without facts"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://inference.example.ai/v1", "example"),
        ("http://gpu-box:8000/v1", "gpu-box"),
        ("http://10.0.0.5:8000/v1", "server"),
        ("http://[::1]:8000", "server"),
        ("http://localhost:8000", "server"),
        ("https://taken.example/v1", "taken2"),
    ],
)
def test_a_name_is_made_from_the_host(url: str, name: str) -> None:
    assert choose_name(url, {"taken", "local"}) == name
