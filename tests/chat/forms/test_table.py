"""Every form of clients over every dialect of providers, whole and streamed: the table of what a client can rely on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from lakehouse.asgi.in_process import call_app
from lakehouse.asgi.middleware.lifetime_middleware import RequestLifetimeMiddleware
from lakehouse.asgi.middleware.standard_headers import PROVIDER
from lakehouse.asgi.router import Router
from lakehouse.asgi.types import App
from lakehouse.chat.api.ollama.routes import ollama_routes
from lakehouse.chat.api.routes import chat_routes
from lakehouse.chat.model.parts import JsonObject
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.core.context import RequestContext
from lakehouse.services.host.errors import error_response
from tests.chat.forms.client_forms import FAILED, FORMS, PNG, TOOLS, ClientForm, Said
from tests.chat.forms.provider_dialects import CALLS, DIALECTS, ERROR, ProviderDialect
from tests.chat.forms.sent_requests import Sent, read_sent
from tools.kit.fake_providers import FakeProvider, Script, open_fake_dispatcher, settings
from tools.kit.fake_providers import error_response as make_error

LIMITS: Any = {"max_body": 1_000_000, "timeout": 60.0, "idle_timeout": 60.0, "keep_alive": 5.0}

every_cell = [
    pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name),
    pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: f"over_{dialect.name}"),
    pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"]),
]


def in_every_cell(test: Any) -> Any:
    """Run a test for each form, each dialect and each way to answer."""
    for mark in every_cell:
        test = mark(test)
    return test


async def embed_nothing(document: JsonObject, *, context: RequestContext) -> bytes:
    raise NotImplementedError


async def load_no_views(scope: Any, receive: Any, send: Any) -> None:
    raise NotImplementedError


@dataclass
class Cell:
    """A client of a form, and the provider behind it. `relayed`: the last answer was."""

    form: ClientForm
    dialect: ProviderDialect
    app: App
    provider: FakeProvider
    relayed: bool = False

    async def post(self, request: JsonObject) -> tuple[int, str]:
        """Send a request; returns status and body of the answer."""
        body = json.dumps(request).encode()
        async with call_app(self.app, "POST", self.form.path, body=body) as answer:
            self.relayed = PROVIDER in dict(answer.headers)
            return answer.status, (await answer.read()).decode()

    async def ask(self, *turns: JsonObject, **options: Any) -> Said:
        """Ask for an answer, which must be a success, and read it."""
        status, text = await self.post(self.form.ask(self.dialect.requested, *turns, **options))
        assert status == 200, text
        return self.form.read_stream(text) if options["stream"] else self.form.read_whole(json.loads(text))

    @property
    def sent(self) -> JsonObject:
        """The body of the last request that the provider was sent."""
        return self.provider.requests[-1].json

    def read_sent(self) -> Sent:
        """The same, read."""
        return read_sent(self.dialect.name, self.sent)


@asynccontextmanager
async def open_cell(form: ClientForm, dialect: ProviderDialect, *answers: bytes | Script) -> AsyncIterator[Cell]:
    scripts = [answer if isinstance(answer, Script) else Script(chunks=[(0, answer)]) for answer in answers]
    provider = FakeProvider(*scripts)
    providers: Any = {dialect.provider: provider}
    async with open_fake_dispatcher(settings(policy={"retries": 0}), **providers) as dispatcher:
        routes = ollama_routes(dispatcher, embed_nothing, context_length=4096, **LIMITS)
        router = Router([*chat_routes(dispatcher, load_no_views, prefix="/v1", **LIMITS), *routes])
        app = RequestLifetimeMiddleware(router, active_requests=ActiveRequests(), render_error=error_response)
        yield Cell(form, dialect, app, provider)


@in_every_cell
async def test_reasoning_text_parallel_calls_and_counts(
    form: ClientForm, dialect: ProviderDialect, stream: bool
) -> None:
    async with open_cell(form, dialect, dialect.everything[stream]) as cell:
        said = await cell.ask(form.say("Hello?"), stream=stream, tools=True)
        assert cell.read_sent().tools == list(TOOLS)
        assert cell.relayed == (form.name == dialect.name)
    assert (said.text, said.reasoning) == ("Hi", "Hm.")
    assert said.calls == list(CALLS)
    assert said.reason == form.reasons["tool_calls"]
    assert said.counts == (10, 3)


REASONING_BACK = {"chat_completions": '"Hm."', "messages": '"Sig"', "responses": '"Enc"', "ollama": '"Hm."'}
"""What a provider of each dialect must be sent back of its reasoning. Ollama's form has no place for a signature, and
reasoning without it is not sent to providers that sign theirs."""


@in_every_cell
async def test_an_answer_with_calls_goes_back_with_its_results(
    form: ClientForm, dialect: ProviderDialect, stream: bool
) -> None:
    async with open_cell(form, dialect, dialect.everything[stream], dialect.plain[stream]) as cell:
        hello = form.say("Hello?")
        said = await cell.ask(hello, stream=stream, tools=True)
        again = await cell.ask(hello, *said.turn, *form.answer_calls(said), stream=stream, tools=True)
        sent = cell.read_sent()
        assert sent.results == [("f", "f"), ("g", "g")]
        assert sent.texts == [("user", "Hello?")]
        unsigned = form.name == "ollama" and dialect.name in ("messages", "responses")
        assert (REASONING_BACK[dialect.name] in json.dumps(cell.sent)) is not unsigned
    assert (again.text, again.reason) == ("Hi", form.reasons["stop"])


@in_every_cell
async def test_system_developer_and_images(form: ClientForm, dialect: ProviderDialect, stream: bool) -> None:
    async with open_cell(form, dialect, dialect.plain[stream]) as cell:
        turns = [
            form.say("Be kind.", role="system"),
            form.say("Be brief.", role="developer"),
            form.say("What?", image=True),
        ]
        said = await cell.ask(*turns, stream=stream)
        assert (said.text, said.calls, said.reasoning) == ("Hi", [], "")
        sent = cell.read_sent()
        assert "".join(text for _, text in sent.texts).replace("\n", "") == "Be kind.Be brief.What?"
        assert {role for role, _ in sent.texts} <= {"system", "developer", "user"}
        assert sent.texts[-1] == ("user", "What?")
        assert PNG in json.dumps(cell.sent)


@in_every_cell
async def test_structured_output(form: ClientForm, dialect: ProviderDialect, stream: bool) -> None:
    async with open_cell(form, dialect, dialect.structured[stream]) as cell:
        said = await cell.ask(form.say("Count."), stream=stream, schema=True)
        assert '"integer"' in json.dumps(cell.sent)
    assert json.loads(said.text) == {"a": 1}
    assert said.calls == []


@in_every_cell
async def test_the_limit_of_tokens(form: ClientForm, dialect: ProviderDialect, stream: bool) -> None:
    async with open_cell(form, dialect, dialect.cut[stream]) as cell:
        said = await cell.ask(form.say("Hello?"), stream=stream)
    assert (said.text, said.reason) == ("Hi", form.reasons["length"])


@in_every_cell
async def test_an_error_in_place_of_an_answer(form: ClientForm, dialect: ProviderDialect, stream: bool) -> None:
    async with open_cell(form, dialect, make_error(400, "these are its words")) as cell:
        status, text = await cell.post(form.ask(dialect.requested, form.say("Hello?"), stream=stream))
    assert status == 400
    assert "these are its words" in form.read_error(json.loads(text))


@in_every_cell
async def test_an_error_within_an_answer(form: ClientForm, dialect: ProviderDialect, stream: bool) -> None:
    """A whole answer that is an error has status 200 as well."""
    errors = {"ollama": {"error": ERROR["message"]}, "messages": {"type": "error", "error": ERROR}}
    whole = json.dumps(errors.get(dialect.name, {"error": ERROR})).encode()
    async with open_cell(form, dialect, dialect.broken if stream else whole) as cell:
        status, text = await cell.post(form.ask(dialect.requested, form.say("Hello?"), stream=stream))
    if stream:
        said = form.read_stream(text)
        assert (status, said.reason) == (200, FAILED)
        assert ERROR["message"] in said.text
    else:
        assert status >= 429
        assert ERROR["message"] in form.read_error(json.loads(text))
