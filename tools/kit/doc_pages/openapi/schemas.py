"""The schemas of the document: those of msgspec's types, and those of errors and lists that are plain dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from lakehouse import Answer, Piece, Request
from lakehouse.chat.api.openai.types import ChatCompletionRequest, Chunk, Completion, Model, ModelList
from lakehouse.chat.model.listing import ProviderState
from lakehouse.core import errors
from lakehouse.core.attempts import AttemptReason
from lakehouse.core.context import Phase
from lakehouse.core.errors import Attempt, LakehouseError
from lakehouse.core.failure_classes import ERROR_CLASSES
from tools.kit.doc_pages.openapi import ask, lake, matrix
from tools.kit.doc_pages.openapi.shapes import BOOLEAN, INTEGER, NUMBER, STRING, nullable, struct
from tools.kit.doc_pages.openapi.translate import Schema, Translator, reference

TYPES = (Request, Answer, Piece, ProviderState, ChatCompletionRequest, Completion, Chunk, ModelList, Model, Attempt)

ABOUT: Mapping[str, str] = {
    "Request": "A chat. A field that is left out is not sent to the provider; unknown fields are an error.",
    "Answer": "A whole answer. Token counts are the provider's, null where it gave none; money is US dollars.",
    "Attempt": "One call of a provider: status (null if no response arrived), error class if it failed, milliseconds.",
    "ContentPiece": "More text of the answer.",
    "ReasoningPiece": "More of the model's reasoning.",
    "ToolCallPiece": "A complete tool call.",
    "SupplementPiece": "Citations, images, sound or token probabilities; `audio` is a piece of it.",
    "Done": "The last event of a complete stream: the fields of an answer without its content.",
    "ProviderState": "A registered provider. `available`: none of its circuit breakers is open.",
    "ChatCompletionRequest": "OpenAI's request. Every optional field may be null; unknown fields are passed on to "
    "providers of the same form. `fallbacks` is an extension: models to try after `model`.",
    "Completion": "OpenAI's answer, with the extensions `provider`, `attempts` and `usage.cost`.",
    "Chunk": "One event of OpenAI's stream, with the extension `provider`; the last line is `data: [DONE]`.",
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
        "attempts": {"type": "array", "items": reference("Attempt")},
        "details": {"type": "object", "description": "Facts for programs, where the error has any."},
    }


def openai_error_properties() -> dict[str, Schema]:
    """The members of OpenAI's error document, and after these our own."""
    openai = {"message": STRING, "type": STRING, "param": nullable(STRING), "code": nullable(STRING)}
    return {**error_properties(), **openai}


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
            "attempts": {"type": "array", "items": reference("AttemptInFlight")},
        },
        "A request in flight; `age` and `time_left` are seconds. The one attempt of a relayed request is not listed.",
    )
    return {
        "Error": struct({"error": struct(error_properties(), optional=DETAILS)}, "An error in the service's own form."),
        "OpenAIError": struct(
            {"error": struct(openai_error_properties(), optional=DETAILS)}, "An error in OpenAI's form."
        ),
        "ErrorEvent": struct(
            {"type": {"const": "error"}, "error": struct(error_properties(), optional=DETAILS)},
            "The last event of a stream that broke.",
        ),
        "Event": {"anyOf": [*(reference(kind.__name__) for kind in get_args(Piece)), reference("ErrorEvent")]},
        "Providers": struct(
            {"providers": {"type": "array", "items": reference("ProviderState")}, "default": nullable(STRING)}
        ),
        "AttemptInFlight": attempt,
        "RequestInFlight": in_flight,
        "RequestsInFlight": struct(
            {
                "requests": {"type": "array", "items": reference("RequestInFlight")},
                "workers": INTEGER,
                "silent": INTEGER,
            },
            "The requests in flight over all workers, the oldest first; `silent` counts workers that did not answer.",
        ),
        "Health": struct({"status": {"enum": ["alive", "ready"]}}),
        "ServiceHealth": struct({"status": {"enum": ["ok"]}, "service": {"type": "string"}}),
    }


def components() -> dict[str, Schema]:
    """Every schema by its name."""
    translator = Translator()
    for annotation in (*TYPES, *ask.TYPES, *lake.TYPES, *matrix.TYPES):
        translator.add(annotation)
    about = {**ABOUT, **ask.ABOUT, **lake.ABOUT, **matrix.ABOUT}
    described = {name: {"description": about[name]} if name in about else {} for name in translator.schemas}
    generated = {name: described[name] | schema for name, schema in translator.schemas.items()}
    return dict(sorted({**generated, **handwritten(), **ask.schemas(), **lake.schemas(), **matrix.schemas()}.items()))
