"""The OpenAPI document is up to date, has every route, and is true of what the service answers."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import jsonschema_rs
import pytest

from lakehouse.asgi.middleware.auth import HEALTH_PATHS
from lakehouse.chat.api.ollama import paths as ollama_paths
from lakehouse.chat.api.routes import VERSION, chat_paths
from lakehouse.core.errors import Attempt
from lakehouse.core.failure_classes import ERROR_CLASSES
from lakehouse.core.provider_failures import make_failure
from lakehouse.gateway.routes import ROUTES
from lakehouse.runtime.ask import ASK_PATH
from lakehouse.runtime.console.endpoints import PATHS
from lakehouse.runtime.reload.endpoint import RELOAD_PATH
from tools.kit.doc_pages.openapi import ask, matrix, ollama, sessions
from tools.kit.doc_pages.openapi.document import PAGE, document, documented, render
from tools.kit.doc_pages.openapi.lake import OPERATIONS
from tools.kit.doc_pages.openapi.operations import EVENTS, FIXED
from tools.kit.scripted_retrieval import open_retrieval
from tools.kit.service_with_providers import HELLO, open_service_with_providers
from tools.kit.sse import sse_documents

DOCUMENT = document()
SCHEMAS = DOCUMENT["components"]["schemas"]


def validate(schema: dict[str, Any], value: object) -> None:
    """Raise unless `value` fits a schema of the document."""
    jsonschema_rs.validate({**schema, "components": {"schemas": SCHEMAS}}, value)


def test_the_file_is_up_to_date() -> None:
    assert PAGE.read_text() == render(), "run `python -m tools.openapi`"


def test_every_schema_is_valid_and_every_reference_leads_somewhere() -> None:
    for name in SCHEMAS:
        jsonschema_rs.validator_for({"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}})
    for reference in set(find_references(DOCUMENT)):
        found: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


def find_references(value: Any) -> list[str]:
    if isinstance(value, dict):
        here = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return here + [reference for inner in value.values() for reference in find_references(inner)]
    return [reference for inner in value for reference in find_references(inner)] if isinstance(value, list) else []


def test_every_route_that_is_served_is_in_it() -> None:
    paths = {path for _, path in documented()}
    own = {*chat_paths(VERSION), ASK_PATH, RELOAD_PATH, *PATHS, *(path.decode() for path in HEALTH_PATHS)}
    below = {f"{route.name}/{{path}}" for route in ROUTES}
    exact = {route.name for route in ROUTES if route.exact}
    of_the_lake = {operation.path for operation in (*OPERATIONS, *matrix.OPERATIONS, *sessions.OPERATIONS)}
    assert paths == {*own, *below, *exact, *of_the_lake, *ollama_paths.PATHS, "/v1/models/{model}"}


@pytest.mark.parametrize("error_class", ERROR_CLASSES)
def test_every_error_fits_its_schema(error_class: Any) -> None:
    error = make_failure(error_class, "it failed", provider="kimi", upstream_status=500, retry_after=1)
    error.attempts = (Attempt(provider="kimi", model="m", status=500, error=error_class, ms=1.5),)
    validate(SCHEMAS["Error"], error.document("id"))


def schema_of(operation: Any, answer: httpx.Response) -> dict[str, Any] | None:
    """The schema that the document has for this answer; KeyError for a status or content type that it has not."""
    response = DOCUMENT["paths"][operation.path][operation.method]["responses"][str(answer.status_code)]
    if "$ref" in response:
        response = DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]]
    kind = answer.headers["content-type"].partition(";")[0]
    schema: dict[str, Any] | None = response["content"][kind].get("schema")
    return schema


@pytest.mark.parametrize("operation", FIXED, ids=lambda operation: operation.id)
async def test_each_operation_answers_as_it_says(operation: Any) -> None:
    async with open_service_with_providers(reloadable=True) as there:
        body = {"model": "ollama/m", "messages": HELLO, "max_tokens": 100} if operation.request else None
        path = operation.path.replace("{model}", "ollama/m")
        answer = await there.client.request(operation.method, path, json=body)
        assert answer.status_code == 200, answer.text
        if schema := schema_of(operation, answer):
            validate(schema, answer.json())
        if operation.request:
            refused = await there.client.request(operation.method, path, json={})
            validate(schema_of(operation, refused) or {}, refused.json())
        if EVENTS in operation.answers:
            events = await there.client.request(operation.method, path, json={**(body or {}), "stream": True})
            for event in sse_documents(re.sub("^event: .*\n", "", events.text, flags=re.MULTILINE)):
                validate(schema_of(operation, events) or {}, event)


BODIES: dict[str, dict[str, Any]] = {
    ollama_paths.CHAT: {"messages": HELLO},
    ollama_paths.GENERATE: {"prompt": "Hello?"},
    ollama_paths.EMBED: {"input": "Hello?", "model": "wordllama-256"},
    ollama_paths.EMBEDDINGS: {"prompt": "Hello?", "model": "wordllama-256"},
}


async def test_each_operation_of_ollamas_form_answers_as_it_says() -> None:
    async with open_service_with_providers() as there:
        for operation in ollama.OPERATIONS:
            body = {"model": "openrouter/v/m", "stream": False, **BODIES.get(operation.path, {})}
            given = body if operation.request else None
            answer = await there.client.request(operation.method, operation.path, json=given)
            assert answer.status_code == (200 if operation.answers else 501), answer.text
            validate(schema_of(operation, answer) or {}, answer.json())
            if ollama.LINES in operation.answers:
                lines = await there.client.request(operation.method, operation.path, json={**body, "stream": True})
                for line in lines.text.splitlines():
                    validate(schema_of(operation, lines) or {}, json.loads(line))


async def test_an_ask_answers_as_it_says() -> None:
    (operation,) = ask.OPERATIONS
    async with open_retrieval() as data, open_service_with_providers(gateway=data.urls) as there:
        body = {"question": "Who stands still?", "model": "ollama/m", "tables": ["teams"]}
        answer = await there.client.post(operation.path, json=body)
        validate(schema_of(operation, answer) or {}, answer.json())
        events = await there.client.post(operation.path, json={**body, "stream": True})
        for event in sse_documents(events.text):
            validate(schema_of(operation, events) or {}, event)
        data.passages.clear()
        nothing = await there.client.post(operation.path, json={"question": "Who?"})
        validate(schema_of(operation, nothing) or {}, nothing.json())
        refused = await there.client.post(operation.path, json={})
        validate(schema_of(operation, refused) or {}, refused.json())


async def test_the_requests_in_flight_fit_their_schema() -> None:
    async with open_service_with_providers() as there, there.client.stream("GET", "/v1/requests") as answer:
        listed = json.loads(await answer.aread())
        assert [request["path"] for request in listed["requests"]] == ["/v1/requests"]
        validate(SCHEMAS["RequestsInFlight"], listed)


async def test_a_gateway_whose_service_is_down_answers_as_it_says() -> None:
    async with open_service_with_providers(gateway={"queryd_url": "http://127.0.0.1:9"}) as there:
        answer = await there.client.post("/v1/sql", content=b"select 1")
        assert answer.status_code == 502
        validate(SCHEMAS["Error"], answer.json())
        assert "502" in DOCUMENT["paths"]["/v1/sql"]["post"]["responses"]
