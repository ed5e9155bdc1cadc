"""The schemas of the document: those of msgspec's types, and those of errors and lists that are plain dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from lakehouse import Answer, Done
from lakehouse.chat.api.anthropic.listing import AnthropicModel, ModelPage
from lakehouse.chat.api.anthropic.types import CountTokensParams, MessageAnswer, MessagesParams
from lakehouse.chat.api.native import NativeRequest
from lakehouse.chat.api.openai.types import ChatCompletionRequest, Completion, CompletionChunk, Model, ModelList
from lakehouse.chat.model.listing import ProviderState
from lakehouse.chat.model.pieces import VisibleDelta
from lakehouse.core import errors
from lakehouse.core.attempts import AttemptReason
from lakehouse.core.context import Phase
from lakehouse.core.errors import Attempt, LakehouseError
from lakehouse.core.failure_classes import ERROR_CLASSES
from lakehouse.runtime.reload.reloader import ReloadReport
from tools.kit.doc_pages.openapi import ask, lake, matrix, ollama, responses, sessions
from tools.kit.doc_pages.openapi.shapes import BOOLEAN, INTEGER, NUMBER, STRING, array, nullable, struct
from tools.kit.doc_pages.openapi.translate import Schema, Translator, reference

TYPES = (
    NativeRequest,
    Answer,
    VisibleDelta,
    Done,
    ProviderState,
    ReloadReport,
    ChatCompletionRequest,
    Completion,
    CompletionChunk,
    ModelList,
    Model,
    MessagesParams,
    CountTokensParams,
    MessageAnswer,
    ModelPage,
    AnthropicModel,
    Attempt,
)

ABOUT: Mapping[str, str] = {
    "NativeRequest": "A chat. A field that is left out is not sent to the provider; unknown fields are an error.",
    "Answer": "A whole answer. Token counts are the provider's, null where it gave none; money is US dollars.",
    "Attempt": "One call of a provider: status (null if no response arrived), error class if it failed, milliseconds.",
    "ContentPiece": "More text of the answer.",
    "ReasoningPiece": "More of the model's reasoning.",
    "ToolCallPiece": "A complete tool call.",
    "SupplementPiece": "Citations, images, sound or token probabilities; `audio` is a piece of it.",
    "Done": "The last event of a complete stream: the fields of an answer without its content.",
    "ProviderState": "A registered provider. `available`: none of its circuit breakers is open.",
    "ReloadReport": "The keys that have new values, and those that keep their values until the service is restarted.",
    "ChatCompletionRequest": "OpenAI's request. Every optional field may be null; unknown fields are passed on to "
    "providers of the same form. `fallbacks` is an extension: models to try after `model`.",
    "Completion": "OpenAI's answer, with the extensions `provider`, `attempts` and `usage.cost`.",
    "CompletionChunk": "One event of OpenAI's stream, with the extension `provider`; the last line is `data: [DONE]`.",
    "MessagesParams": "Anthropic's request. Every optional field may be null. Other fields are sent to providers of the "
    "same form; for any other provider they are an error, or left out where the answer stays the same. `fallbacks` may "
    "be an extension: models to try after `model`.",
    "CountTokensParams": "Anthropic's request, as far as its tokens are counted.",
    "MessageAnswer": "Anthropic's message. `model` is the name that the client asked for.",
    "ModelPage": "Anthropic's list of models: the tiers of the configuration, then the models of each provider.",
    "AnthropicModel": "A model in Anthropic's form.",
    "ModelList": "OpenAI's list of models: the tiers of the configuration, then the models of each provider.",
}
"""Descriptions of the types that a reader meets first."""


def error_types() -> list[type[LakehouseError]]:
    """Every kind of error that a client can get, by status."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LakehouseError)]
    return sorted(kinds, key=lambda kind: (kind.status, kind.code))


def error_properties() -> dict[str, Schema]:
    """The members of an error's document."""
    return {
        "code": {"enum": sorted({kind.code for kind in error_types()})},
        "message": STRING,
        "status": INTEGER,
        "provider": nullable(STRING),
        "upstream_status": nullable(INTEGER),
        "class": nullable({"enum": list(ERROR_CLASSES)}),
        "retryable": BOOLEAN,
        "request_id": nullable(STRING),
        "attempts": array(reference("Attempt")),
        "details": {"type": "object", "description": "Facts for programs, where the error has any."},
    }


def openai_error_properties() -> dict[str, Schema]:
    """The members of OpenAI's error document, and after these our own."""
    openai = {"message": STRING, "type": STRING, "param": nullable(STRING), "code": nullable(STRING)}
    wait = {"type": "number", "description": "Seconds after which the provider takes a request, where it says so."}
    return {**error_properties(), **openai, "retry_after": wait}


MESSAGE_EVENTS = (
    "message_start",
    "ping",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "error",
)
"""The types of events of a stream in Anthropic's form."""

DETAILS = ("details",)
"""Members of an error's document that not every error has."""


def handwritten() -> dict[str, Schema]:
    """Documents that the code makes as dictionaries."""
    attempt = struct(
        {
            "upstream": STRING,
            "model": STRING,
            "why": {"enum": list(get_args(AttemptReason))},
            "age": NUMBER,
            "running": BOOLEAN,
            "status": nullable(INTEGER),
            "error": nullable(STRING),
        },
        "One attempt of a request in flight; `age` is seconds.",
    )
    in_flight = struct(
        {
            "worker": INTEGER,
            "id": STRING,
            "principal": nullable(STRING),
            "session": nullable(STRING),
            "agent": nullable(STRING),
            "method": STRING,
            "path": STRING,
            "route": STRING,
            "phase": {"enum": list(get_args(Phase))},
            "upstream": nullable(STRING),
            "provider": nullable(STRING),
            "model": nullable(STRING),
            "age": NUMBER,
            "time_left": nullable(NUMBER),
            "attempt_count": INTEGER,
            "attempts": array(reference("AttemptInFlight")),
        },
        "A request in flight; `age` and `time_left` are seconds. The one attempt of a relayed request is not listed.",
    )
    return {
        "Error": struct({"error": struct(error_properties(), optional=DETAILS)}, "An error in the service's own form."),
        "OpenAIError": struct(
            {"error": struct(openai_error_properties(), optional=(*DETAILS, "retry_after"))},
            "An error in OpenAI's form.",
        ),
        "AnthropicError": struct(
            {
                "type": {"const": "error"},
                "error": struct({"type": STRING, "message": STRING, "details": {"type": "object"}}, optional=DETAILS),
                "request_id": nullable(STRING),
            },
            "An error in Anthropic's form.",
        ),
        "MessageEvent": struct(
            {"type": {"enum": list(MESSAGE_EVENTS)}},
            "One event of Anthropic's stream: its type, and the fields that Anthropic describes for it.",
        ),
        "TokenCount": struct({"input_tokens": INTEGER}),
        "ErrorEvent": struct(
            {"type": {"const": "error"}, "error": struct(error_properties(), optional=DETAILS)},
            "The last event of a stream that broke.",
        ),
        "Event": {
            "anyOf": [*(reference(kind.__name__) for kind in get_args(VisibleDelta | Done)), reference("ErrorEvent")]
        },
        "Providers": struct({"providers": array(reference("ProviderState")), "default": nullable(STRING)}),
        "AttemptInFlight": attempt,
        "RequestInFlight": in_flight,
        "RequestsInFlight": struct(
            {
                "requests": array(reference("RequestInFlight")),
                "workers": INTEGER,
                "silent": INTEGER,
            },
            "The requests in flight over all workers, the oldest first; `silent` counts workers that did not answer.",
        ),
        "Health": struct({"status": {"enum": ["alive", "ready"]}}),
        "ServiceHealth": struct({"status": {"enum": ["ok"]}, "service": {"type": "string"}}),
    }


PAGES = (responses, ollama, ask, lake, matrix)
"""Modules with types and schemas of their own."""


def components() -> dict[str, Schema]:
    """Every schema by its name."""
    translator = Translator()
    for annotation in (*TYPES, *(annotation for page in PAGES for annotation in page.TYPES)):
        translator.add(annotation)
    about = {**ABOUT, **{name: text for page in PAGES for name, text in page.ABOUT.items()}}
    described = {name: {"description": about[name]} if name in about else {} for name in translator.schemas}
    generated = {name: described[name] | schema for name, schema in translator.schemas.items()}
    written = {name: schema for page in (sessions, *PAGES) for name, schema in page.schemas().items()}
    return dict(sorted({**generated, **handwritten(), **written}.items()))
