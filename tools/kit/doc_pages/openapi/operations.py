"""The operations of the document: every route that the service serves, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lakehouse.gateway.routes import ROUTES
from lakehouse.runtime.reload.endpoint import RELOAD_PATH

JSON, EVENTS, TEXT, HTML = "application/json", "text/event-stream", "text/plain", "text/html"

OUR_DOOR = (401, 403)
"""Statuses of the service's own authentication."""

CHAT_ERRORS = (400, *OUR_DOOR, 404, 408, 413, 429, 500, 502, 503, 504)
READ_ERRORS = (*OUR_DOOR, 405, 503)
GATEWAY_ERRORS = (400, *OUR_DOOR, 408, 413, 500, 502, 503, 504)

METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
"""Methods of a gateway route that are written down; any other is passed on as well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One method of one path.

    `answers` has the schema of each content type of a success, whose statuses are `statuses`; None stands for any
    content. `request` is the schema of a JSON body, `bodies` has the schemas of bodies of other content types. `query`
    are the parameters of the query string, with their descriptions.
    """

    method: str
    path: str
    id: str
    tag: str
    summary: str
    description: str = ""
    request: str | None = None
    bodies: Mapping[str, str | None] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    answers: Mapping[str, str | None] = field(default_factory=dict)
    statuses: tuple[int, ...] = (200,)
    errors: tuple[int, ...] = ()
    error: str = "Error"
    open: bool = False
    """Whether it needs no token."""


STREAM = (
    "With `stream: true` the answer is an event stream: each event is one line `data: {json}`, and comments "
    "(`: keep-alive`) are sent while there is nothing else. A failure before the first piece is a JSON error with its "
    "status."
)

FIXED = (
    Operation(
        method="post",
        path="/v1/chat",
        id="chat",
        tag="chat",
        summary="Ask a model",
        description=f"{STREAM} The stream ends with exactly one event of type `done` or `error`.",
        request="NativeRequest",
        answers={JSON: "Answer", EVENTS: "Event"},
        errors=CHAT_ERRORS,
    ),
    Operation(
        method="get",
        path="/v1/chat/providers",
        id="providers",
        tag="chat",
        summary="List the registered providers",
        answers={JSON: "Providers"},
        errors=READ_ERRORS,
    ),
    Operation(
        method="post",
        path="/v1/chat/completions",
        id="chat_completions",
        tag="openai",
        summary="Ask a model in OpenAI's form",
        description=f"{STREAM} A complete stream ends with `data: [DONE]`; a stream that broke ends with an error and "
        "without it.",
        request="ChatCompletionRequest",
        answers={JSON: "Completion", EVENTS: "CompletionChunk"},
        errors=CHAT_ERRORS,
        error="OpenAIError",
    ),
    Operation(
        method="post",
        path="/v1/messages",
        id="messages",
        tag="anthropic",
        summary="Ask a model in Anthropic's form",
        description=f"{STREAM} Each event has its name in a line of its own before that. A complete stream ends with "
        "`message_stop`; a stream that broke ends with an event `error`.",
        request="MessagesParams",
        answers={JSON: "MessageAnswer", EVENTS: "MessageEvent"},
        errors=CHAT_ERRORS,
        error="AnthropicError",
    ),
    Operation(
        method="post",
        path="/v1/messages/count_tokens",
        id="count_tokens",
        tag="anthropic",
        summary="Estimate the input tokens of a request",
        description="The header `X-Lakehouse-Estimated: input_tokens` marks the estimate.",
        request="CountTokensParams",
        answers={JSON: "TokenCount"},
        errors=(400, *OUR_DOOR, 405, 408, 413),
        error="AnthropicError",
    ),
    Operation(
        method="get",
        path="/v1/models",
        id="models",
        tag="openai",
        summary="List tiers and models",
        description="With the header `anthropic-version` the answer is a `ModelPage`, a page in Anthropic's form.",
        query={
            "limit": "models in a page, from 1 to 1000; 20 unless given (Anthropic's form alone)",
            "after_id": "the model before the first one of the page (Anthropic's form alone)",
            "before_id": "the model after the last one of the page (Anthropic's form alone)",
        },
        answers={JSON: "ModelList"},
        errors=READ_ERRORS,
        error="OpenAIError",
    ),
    Operation(
        method="get",
        path="/v1/models/{model}",
        id="model",
        tag="openai",
        summary="Look up one model; its name may contain slashes",
        description="With the header `anthropic-version` the answer is an `AnthropicModel`.",
        answers={JSON: "Model"},
        errors=(*READ_ERRORS, 404),
        error="OpenAIError",
    ),
    Operation(
        method="get",
        path="/healthz",
        id="alive",
        tag="observability",
        summary="Whether the process lives",
        answers={JSON: "Health"},
        errors=(405,),
        open=True,
    ),
    Operation(
        method="get",
        path="/readyz",
        id="ready",
        tag="observability",
        summary="Whether the service takes requests; 503 while it drains",
        answers={JSON: "Health"},
        errors=(405, 503),
        open=True,
    ),
    Operation(
        method="get",
        path="/health",
        id="health",
        tag="observability",
        summary="The name of the service that answers",
        answers={JSON: "ServiceHealth"},
        errors=(405,),
        open=True,
    ),
    Operation(
        method="get",
        path="/metrics",
        id="metrics",
        tag="observability",
        summary="Metrics in the format of Prometheus, or OpenMetrics if the client accepts it",
        answers={TEXT: None, "application/openmetrics-text": None},
        errors=READ_ERRORS,
    ),
    Operation(
        method="get",
        path="/v1/requests",
        id="requests",
        tag="observability",
        summary="List the requests in flight over all workers",
        answers={JSON: "RequestsInFlight"},
        errors=READ_ERRORS,
    ),
    Operation(
        method="post",
        path=RELOAD_PATH,
        id="reload",
        tag="observability",
        summary="Read the configuration again, and put it in force for new requests over all workers",
        description="All or nothing: with 422, `details.problems` has every problem, and nothing has changed.",
        answers={JSON: "ReloadReport"},
        errors=(*READ_ERRORS, 422, 501, 503),
    ),
    Operation(
        method="get",
        path="/",
        id="page",
        tag="observability",
        summary="The page; without a token, a browser gets a sign-in form with 401",
        answers={HTML: None},
        errors=READ_ERRORS,
    ),
)


def gateway() -> Iterator[Operation]:
    """The routes that lead to other services, each with the usual methods."""
    named: set[str] = set()
    for route in ROUTES:
        name = route.name.rpartition("/")[2] if route.service in named else route.service
        named.add(route.service)
        paths = [f"{route.name}/{{path}}", *([route.name] if route.exact else [])]
        for path in paths:
            for method in METHODS:
                suffix = "_at_prefix" if path == route.name else ""
                yield Operation(
                    method=method,
                    path=path,
                    id=f"{method}_{name}{suffix}",
                    tag="gateway",
                    summary=f"Passed on to {route.service}, `/v1` stripped",
                    answers={"*/*": None},
                    errors=GATEWAY_ERRORS,
                )
