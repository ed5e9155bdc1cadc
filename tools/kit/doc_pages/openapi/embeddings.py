"""The routes of embedd in the document: operations and schemas."""

from __future__ import annotations

from collections.abc import Mapping

from lakehouse.services.contracts.embedder import CacheStats, ModelInfo
from tools.kit.doc_pages.openapi.operations import GATEWAY_ERRORS, JSON, Operation
from tools.kit.doc_pages.openapi.shapes import BOOLEAN, INTEGER, NUMBER, STRING, array, nullable, struct
from tools.kit.doc_pages.openapi.translate import Schema, reference

ERRORS = (*GATEWAY_ERRORS, 404, 405, 415, 501)
MODEL_ERRORS = (*ERRORS, 422, 429)

OPERATIONS = (
    Operation(
        method="post",
        path="/v1/embed",
        id="embed",
        tag="lake",
        summary="Embed texts",
        description="The model's name selects the packaged model, a GGUF file, Ollama or a provider. A text that is too "
        "long is 422 with its position in `details.item`, unless `truncate` is true.",
        request="EmbedRequest",
        answers={JSON: "Embedded"},
        errors=MODEL_ERRORS,
    ),
    Operation(
        method="get",
        path="/v1/embed/stats",
        id="embed_stats",
        tag="lake",
        summary="Show the figures of the cache of embeddings",
        answers={JSON: "CacheStats"},
        errors=ERRORS,
    ),
    Operation(
        method="get",
        path="/v1/embed/models",
        id="embed_models",
        tag="lake",
        summary="List the embedding models",
        answers={JSON: "EmbeddingModels"},
        errors=ERRORS,
    ),
    Operation(
        method="post",
        path="/v1/embeddings",
        id="openai_embeddings",
        tag="openai",
        summary="Embed texts, in OpenAI's form",
        description="`input` holds texts: numbers of tokens are refused, as each model has its own. An unknown model is "
        "404.",
        request="OpenAIEmbeddingsRequest",
        answers={JSON: "OpenAIEmbeddings"},
        errors=MODEL_ERRORS,
        error="OpenAIError",
    ),
    Operation(
        method="post",
        path="/v1/rerank",
        id="rerank",
        tag="lake",
        summary="Order documents by their relevance to a query, in the form of Cohere and Jina",
        description="A model of a provider that is reached in OpenAI's form ranks by itself; with any other model the "
        "order is that of the cosine of the embeddings, which `method` says.",
        request="RerankRequest",
        answers={JSON: "Reranked"},
        errors=MODEL_ERRORS,
    ),
)

TYPES = (CacheStats, ModelInfo)
"""The documents of embedd that are types of the code."""

ABOUT: Mapping[str, str] = {
    "CacheStats": "Texts that were found in the cache and not, since the start, and the texts in it.",
    "ModelInfo": "An embedding model. `dimensions` are those to which its vectors can be cut; `semantic` is what it "
    "compares; `missing` says what an unavailable model needs. Null: only the provider knows.",
}

_TEXTS: Schema = array(STRING)
_TEXT_OR_TEXTS: Schema = {"anyOf": [STRING, _TEXTS]}
_NUMBERS: Schema = array(NUMBER)
_VECTOR: Schema = {
    "anyOf": [_NUMBERS, STRING],
    "description": "numbers, or with base64 the bytes of float32, little endian",
}


def schemas() -> Mapping[str, Schema]:
    """The schemas of embedd's other documents by their names."""
    return {**_native_schemas(), **_openai_schemas(), **_rerank_schemas()}


def _native_schemas() -> Mapping[str, Schema]:
    request: dict[str, Schema] = {
        "texts": _TEXTS,
        "input": _TEXT_OR_TEXTS,
        "model": STRING,
        "dimension": INTEGER,
        "dimensions": INTEGER,
        "kind": {"enum": ["query", "document"]},
        "encoding": {"enum": ["float", "base64"]},
        "truncate": BOOLEAN,
    }
    answer: dict[str, Schema] = {
        "model": STRING,
        "dimension": INTEGER,
        "vectors": array(_VECTOR),
        "semantic": {"enum": ["words", "sentences"]},
        "truncated": array(INTEGER),
        "usage": struct({"tokens": nullable(INTEGER), "cached": INTEGER}),
    }
    return {
        "EmbedRequest": struct(
            request,
            "`texts` or `input`, at most 4,096 texts. `dimension` (or `dimensions`) only where the model's vectors can "
            "be cut; `kind` has no effect with the models of this version.",
            optional=list(request),
        ),
        "Embedded": struct(
            answer,
            "The vectors in the order of the texts. `truncated` has the positions of texts that were cut; "
            "`usage.tokens` is null if the model does not count, `usage.cached` the texts that were in the cache.",
        ),
        "EmbeddingModels": struct({"models": array(reference("ModelInfo"))}),
    }


def _openai_schemas() -> Mapping[str, Schema]:
    request: dict[str, Schema] = {
        "input": _TEXT_OR_TEXTS,
        "model": STRING,
        "encoding_format": {"enum": ["float", "base64"]},
        "dimensions": INTEGER,
        "truncate": BOOLEAN,
    }
    item = struct({"object": {"const": "embedding"}, "index": INTEGER, "embedding": _VECTOR})
    return {
        "OpenAIEmbeddingsRequest": struct(
            request,
            "`truncate` is an addition to OpenAI's form; other members are ignored.",
            optional=list(request)[1:],
        ),
        "OpenAIEmbeddings": struct(
            {
                "object": {"const": "list"},
                "data": array(item),
                "model": STRING,
                "usage": struct({"prompt_tokens": INTEGER, "total_tokens": INTEGER}),
            }
        ),
    }


def _rerank_schemas() -> Mapping[str, Schema]:
    document = struct({"text": STRING})
    request: dict[str, Schema] = {
        "query": STRING,
        "documents": array({"anyOf": [STRING, document]}),
        "model": STRING,
        "top_n": INTEGER,
        "return_documents": BOOLEAN,
    }
    result = struct({"index": INTEGER, "relevance_score": NUMBER, "document": document}, optional=["document"])
    return {
        "RerankRequest": struct(request, "Other members are ignored.", optional=list(request)[2:]),
        "Reranked": struct(
            {
                "object": {"const": "list"},
                "model": STRING,
                "method": {"enum": ["cosine", "model"]},
                "results": array(result),
                "usage": struct({"total_tokens": INTEGER}),
            },
            "Best first.",
        ),
    }
