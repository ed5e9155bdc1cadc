"""The document itself: operations and schemas put together."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lakehouse._version import __version__
from tools.kit.doc_pages.openapi import ask, lake, matrix, ollama, sessions
from tools.kit.doc_pages.openapi import responses as responses_form
from tools.kit.doc_pages.openapi.operations import FIXED, JSON, METHODS, Operation, gateway
from tools.kit.doc_pages.openapi.schemas import components, error_types
from tools.kit.doc_pages.openapi.translate import reference

ROOT = Path(__file__).parents[4]
PAGE = ROOT / "docs/openapi.json"

TAGS = {
    "chat": "The native form of a chat.",
    "anthropic": "Anthropic's form, for Claude Code and any client of Anthropic's with the service's URL as its base.",
    "openai": "OpenAI's form, for any OpenAI client with `base_url` ending in `/v1`.",
    "ollama": "Ollama's form, for clients that can be pointed at an Ollama.",
    "gateway": "Services behind the gateway: path (less `/v1`), query and body are passed on byte for byte, also for "
    "WebSockets.",
    "lake": "Tables, SQL and objects, where the service serves them itself (`embedded`, the default): see lake.md.",
    "observability": "Health, metrics, the requests in flight and the sessions that they belong to.",
}

REQUEST_HEADERS = {
    "X-Request-Id": "An id for the request, 1 to 128 characters of `A-Za-z0-9._~:+/=@-`; one is made up otherwise.",
    "X-Request-Timeout-Ms": "A deadline in milliseconds, counted from the request's head; it can only shorten the "
    "service's own.",
    "X-Session-Id": "The session that the request belongs to, 1 to 256 visible characters of ASCII.",
}

RESPONSE_HEADERS = {"X-Request-Id": "The request's id."}

REASONS = {
    400: "the request is wrong, here or according to the provider",
    401: "no valid bearer token",
    403: "this network, or a page of this origin, may not connect, or the operation is not permitted",
    404: "no such path, provider, model, table, snapshot, object or index",
    405: "the path does not take this method",
    408: "the request's body stopped arriving",
    409: "the request contradicts what is there; `details.differences` has the columns that differ",
    412: "a condition of the request does not hold",
    413: "the body is too large",
    415: "the body is of a kind that is not taken",
    416: "the range lies outside of the object",
    422: "the file, the query or the configuration cannot be processed; `details` has the place",
    429: "the provider's rate limit or quota; see `Retry-After`",
    500: "an internal error",
    501: "the extra `lake` is not installed, or the configuration has no file",
    502: "the upstream failed, or its answer is empty, cut or not understood",
    503: "draining, all circuit breakers open, or the queue is full; see `Retry-After`",
    504: "a deadline passed: the caller's, the service's or the upstream's",
    507: "the disk is full, or a quota on it is used up",
}


def operations() -> tuple[Operation, ...]:
    """Every operation of the service; a gateway's route that the lake describes better is left out."""
    own = (
        *FIXED,
        *responses_form.OPERATIONS,
        *ollama.OPERATIONS,
        *sessions.OPERATIONS,
        *ask.OPERATIONS,
        *lake.OPERATIONS,
        *matrix.OPERATIONS,
    )
    described_here = {(operation.method, operation.path) for operation in own}
    return (*own, *(each for each in gateway() if (each.method, each.path) not in described_here))


def error_response(status: int, schema: str) -> dict[str, Any]:
    """The response of an error status; its description names the codes that have it."""
    codes = sorted({kind.code for kind in error_types() if kind.status == status})
    named = f" ({', '.join(f'`{code}`' for code in codes)})" if codes else ""
    return {
        "description": REASONS[status] + named,
        "content": {"application/json": {"schema": reference(schema)}},
    }


def responses(operation: Operation) -> dict[str, Any]:
    """The responses of an operation by status."""
    content = {kind: {"schema": reference(name)} if name else {} for kind, name in operation.answers.items()}
    headers = {name: {"schema": {"type": "string"}, "description": about} for name, about in RESPONSE_HEADERS.items()}
    answer: dict[str, Any] = {"description": "the answer", "headers": headers}
    if content or operation.statuses == (200,):
        answer["content"] = content
    found = {str(status): answer for status in operation.statuses}
    if operation.tag == "gateway":
        found = {"default": {"description": "the upstream's own answer, status and headers included"}}
    for status in sorted(operation.errors):
        found[str(status)] = {"$ref": f"#/components/responses/{operation.error}{status}"}
    return found


def shared_responses() -> dict[str, Any]:
    """The error responses of all operations by their names."""
    used = sorted({(operation.error, status) for operation in operations() for status in operation.errors})
    return {f"{schema}{status}": error_response(status, schema) for schema, status in used}


def parameters_of(path: str) -> list[dict[str, Any]]:
    """The parameters of all operations of a path."""
    about = {"in": "path", "required": True, "schema": {"type": "string"}, "description": "may contain slashes"}
    places = [{"name": name, **about} for name in re.findall(r"{(\w+)}", path)]
    return [*places, *({"$ref": f"#/components/parameters/{name}"} for name in REQUEST_HEADERS)]


def described(operation: Operation) -> dict[str, Any]:
    """An operation as OpenAPI has it."""
    document: dict[str, Any] = {"operationId": operation.id, "tags": [operation.tag], "summary": operation.summary}
    if operation.description:
        document["description"] = operation.description
    bodies = {**operation.bodies, **({JSON: operation.request} if operation.request else {})}
    if operation.query:
        document["parameters"] = [
            {"name": name, "in": "query", "schema": {"type": "string"}, **({"description": about} if about else {})}
            for name, about in operation.query.items()
        ]
    if bodies:
        content = {kind: {"schema": reference(name)} if name else {} for kind, name in bodies.items()}
        document["requestBody"] = {"required": True, "content": content}
    document["responses"] = responses(operation)
    if operation.open:
        document["security"] = []
    return document


def document() -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations():
        item = paths.setdefault(operation.path, {"parameters": parameters_of(operation.path)})
        item[operation.method] = described(operation)
    parameters = {
        name: {"name": name, "in": "header", "schema": {"type": "string"}, "description": about}
        for name, about in REQUEST_HEADERS.items()
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lakehouse",
            "version": __version__,
            "description": "A data lake, language-model gateway and reverse proxy. See http-api.md for the whole contract.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:3110", "description": "the default address"}],
        "security": [{"token": []}, {}],
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "paths": paths,
        "components": {
            "parameters": parameters,
            "responses": shared_responses(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": components(),
        },
    }


def render() -> str:
    """The document as text."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def documented() -> set[tuple[str, str]]:
    """Every method and path of the document."""
    return {(method, path) for path, methods in document()["paths"].items() for method in METHODS if method in methods}


def main() -> None:
    """Write the page."""
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
