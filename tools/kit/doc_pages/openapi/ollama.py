"""Ollama's form in the document: its operations and its schemas."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from lakehouse.chat.api.ollama import paths
from lakehouse.chat.api.ollama.types import ChatParams, EmbeddingsParams, EmbedParams, GenerateParams, ShowParams
from tools.kit.doc_pages.openapi.operations import CHAT_ERRORS, JSON, OUR_DOOR, READ_ERRORS, Operation
from tools.kit.doc_pages.openapi.shapes import BOOLEAN, INTEGER, NUMBER, STRING, array, struct
from tools.kit.doc_pages.openapi.translate import Schema, reference

LINES = "application/x-ndjson"

STREAM = (
    "Unless `stream` is false the answer is a stream of lines, each a document of this schema; the last has `done: true`, "
    "or is an error. Without messages or prompt the request only asks for the model to be loaded or unloaded."
)
PLACE = (
    "On the main listener while it is on a loopback address and no token is set, or on the listener `[ollama] bind`."
)


_describe = partial(Operation, tag="ollama", error="OllamaError")

OPERATIONS = (
    _describe(
        method="post",
        path=paths.CHAT,
        id="ollama_chat",
        summary="Ask a model in Ollama's form",
        description=f"{STREAM} {PLACE}",
        request="ChatParams",
        answers={JSON: "OllamaChat", LINES: "OllamaChat"},
        errors=CHAT_ERRORS,
    ),
    _describe(
        method="post",
        path=paths.GENERATE,
        id="ollama_generate",
        summary="Complete a prompt in Ollama's form",
        description=f"{STREAM} {PLACE}",
        request="GenerateParams",
        answers={JSON: "OllamaCompletion", LINES: "OllamaCompletion"},
        errors=CHAT_ERRORS,
    ),
    _describe(
        method="post",
        path=paths.EMBED,
        id="ollama_embed",
        summary="Embed texts in Ollama's form",
        description=PLACE,
        request="EmbedParams",
        answers={JSON: "OllamaEmbeddings"},
        errors=CHAT_ERRORS,
    ),
    _describe(
        method="post",
        path=paths.EMBEDDINGS,
        id="ollama_embeddings",
        summary="Embed one text in Ollama's older form",
        description=PLACE,
        request="EmbeddingsParams",
        answers={JSON: "OllamaEmbedding"},
        errors=CHAT_ERRORS,
    ),
    _describe(
        method="post",
        path=paths.SHOW,
        id="ollama_show",
        summary="Describe a model in Ollama's form",
        description=PLACE,
        request="ShowParams",
        answers={JSON: "OllamaModel"},
        errors=CHAT_ERRORS,
    ),
    *(
        _describe(
            method="get",
            path=path,
            id=f"ollama_{path.rpartition('/')[2]}",
            summary=summary,
            description=PLACE,
            answers={JSON: answer},
            errors=READ_ERRORS,
        )
        for path, summary, answer in (
            (paths.TAGS, "List tiers and models in Ollama's form", "OllamaTags"),
            (paths.PS, "List the models that an Ollama has in memory", "OllamaLoaded"),
            (paths.VERSION, "The release of Ollama whose form this is", "OllamaVersion"),
        )
    ),
    *(
        _describe(
            method=method,
            path=path,
            id=f"ollama_{path.rpartition('/')[2]}_{method}",
            summary="501: the models are the providers' own",
            statuses=(),
            errors=(*OUR_DOOR, 501),
        )
        for path in paths.MANAGEMENT
        for method in ("post", "delete")
    ),
)

TYPES = (ChatParams, GenerateParams, EmbedParams, EmbeddingsParams, ShowParams)

ABOUT: Mapping[str, str] = {
    "ChatParams": "Ollama's request for a chat. Further fields are sent to an Ollama; for any other provider they are an "
    "error, or left out where they are about the runner of a model.",
    "GenerateParams": "Ollama's request to complete a prompt.",
    "EmbedParams": "Ollama's request for the embeddings of texts.",
    "EmbeddingsParams": "Ollama's older request for the embedding of one text.",
    "ShowParams": "Ollama's request to describe a model.",
}

_OBJECT: Schema = {"type": "object"}
_COUNTS = (
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
)


def schemas() -> Mapping[str, Schema]:
    """Documents that no type of their own stands for."""
    message = struct(
        {"role": {"const": "assistant"}, "content": STRING, "thinking": STRING, "tool_calls": array(_OBJECT)},
        optional=["thinking", "tool_calls"],
    )
    model = {"name": STRING, "model": STRING}
    listed = struct({**model, "modified_at": STRING, "size": INTEGER, "digest": STRING, "details": _OBJECT})
    embeddings = {"model": STRING, "embeddings": array(array(NUMBER)), "prompt_eval_count": INTEGER}
    described = {"capabilities": array(STRING), "details": _OBJECT, "model_info": _OBJECT, "modified_at": STRING}
    return {
        "OllamaChat": _answer("message", message),
        "OllamaCompletion": _answer("response", STRING),
        "OllamaEmbeddings": struct(
            {**embeddings, "total_duration": INTEGER},
            "The vectors in the order of the texts; the duration is in nanoseconds.",
            optional=["prompt_eval_count"],
        ),
        "OllamaEmbedding": struct({"embedding": array(NUMBER)}),
        "OllamaTags": struct({"models": array(listed)}),
        "OllamaModel": struct(described, "What its Ollama says of a model, or what is assumed of another provider's."),
        "OllamaLoaded": struct({"models": array(struct(model))}),
        "OllamaVersion": struct({"version": STRING}),
        "OllamaError": struct({"error": STRING}, "An error in Ollama's form."),
        "OllamaLine": {"anyOf": [reference("OllamaChat"), reference("OllamaCompletion"), reference("OllamaError")]},
    }


def _answer(field: str, content: Schema) -> Schema:
    """A whole answer, or a line of a stream: the last line has the reason and the counts."""
    counts = dict.fromkeys(_COUNTS, INTEGER)
    ended: dict[str, Schema] = {"done_reason": STRING, "remote_model": STRING, "remote_host": STRING, **counts}
    head: dict[str, Schema] = {"model": STRING, "created_at": STRING, field: content, "done": BOOLEAN}
    return struct(
        {**head, **ended},
        "An answer in Ollama's form, or a line of its stream; durations are in nanoseconds.",
        optional=list(ended),
    )
