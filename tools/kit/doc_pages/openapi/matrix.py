"""The routes of matrixd in the document: operations and schemas."""

from __future__ import annotations

from collections.abc import Mapping

from lakehouse.services.matrixd.downgrade import DowngradeAnswer, DowngradeRequest
from lakehouse.services.matrixd.relevance import RelevanceAnswer, RelevanceRequest
from lakehouse.services.matrixd.requests import ContextRequest, MatrixSearchRequest, PlaybookBatch, PlaybookRequest
from tools.kit.doc_pages.openapi.operations import GATEWAY_ERRORS, JSON, Operation
from tools.kit.doc_pages.openapi.shapes import INTEGER, NUMBER, STRING, array, nullable, struct
from tools.kit.doc_pages.openapi.translate import Schema, reference

ERRORS = (*GATEWAY_ERRORS, 405, 409, 415, 422, 501)


def _post(path: str, name: str, summary: str, request: str, answer: str, about: str = "") -> Operation:
    return Operation(
        method="post",
        path=f"/v1/matrix/{path}",
        id=name,
        tag="lake",
        summary=summary,
        description=about,
        request=request,
        answers={JSON: answer},
        errors=ERRORS,
    )


OPERATIONS = (
    _post(
        "search",
        "matrix_search",
        "Search several indexes",
        "MatrixSearchRequest",
        "MatrixSearchAnswer",
        "One corpus that fails is 502, unless `partial` is set.",
    ),
    _post("context", "matrix_context", "Find passages for a prompt", "ContextRequest", "MatrixContext"),
    _post("playbooks/record", "record_playbook", "Record what answered a question", "PlaybookRequest", "PlaybookId"),
    _post("playbooks/bulk", "record_playbooks", "Record several playbooks", "PlaybookBatch", "PlaybookBatchAnswer"),
    _post(
        "relevance", "relevance", "Divide chunks by their relevance to a file", "RelevanceRequest", "RelevanceAnswer"
    ),
    _post("downgrade", "downgrade", "Choose the mode of a review", "DowngradeRequest", "DowngradeAnswer"),
)

TYPES = (
    MatrixSearchRequest,
    ContextRequest,
    PlaybookRequest,
    PlaybookBatch,
    RelevanceRequest,
    RelevanceAnswer,
    DowngradeRequest,
    DowngradeAnswer,
)

ABOUT: Mapping[str, str] = {
    "MatrixSearchRequest": "`query_text` or `query_vector`; the vector wins. `filter` is applied before the cut of each "
    "corpus, `metadata_filter` and `exclude_ids` after it.",
    "ContextRequest": "A search whose results become numbered passages of at most `max_tokens` (4 characters each).",
    "CorpusChoice": "A corpus with a filter of its own.",
    "PlaybookRequest": "An answer to a question, and how good it was, from 0 to 1.",
    "PlaybookBatch": "Playbooks. `corpus` is the memory of those that name none.",
    "Focus": "A source file: its path, and the symbols that it defines and imports.",
    "Chunk": "A piece of text, and the path of the file that it is from.",
    "ScoredChunk": "The id of a chunk, and its score.",
    "RelevanceRequest": "Chunks are kept from `threshold` on.",
    "RelevanceAnswer": "The kept and the dropped chunks in their order.",
    "DowngradeRequest": "`forced_mode`: the mode was chosen by the caller. Without `force_full_enrichment` the variable "
    "LH_FORCE_FULL_ENRICHMENT decides.",
    "DowngradeAnswer": "The mode to use, and the requested one if it is another.",
}

_ANY: Schema = {}
_COUNTS: Schema = {"type": "object", "additionalProperties": INTEGER}
_REASONS: Schema = {"type": "object", "additionalProperties": STRING}
_ABOUT_RESULTS: Mapping[str, Schema] = {
    "per_corpus": _COUNTS,
    "dropped_by_filter": INTEGER,
    "boosted": INTEGER,
    "injected": INTEGER,
    "failed": _REASONS,
    "warnings": array(STRING),
}
_OPTIONAL = ("boosted", "injected", "failed", "warnings")


def schemas() -> Mapping[str, Schema]:
    """Documents that no type of their own stands for."""
    hit = {"id": STRING, "distance": nullable(NUMBER), "corpus": STRING}
    more = {"metadata": _ANY, "score": NUMBER, "scores": {"type": "object"}, "text": STRING}
    passage = {"n": INTEGER, "corpus": STRING, "id": STRING, "text": STRING, "distance": nullable(NUMBER)}
    result = {"index": INTEGER, "playbook_id": STRING, "error": STRING}
    return {
        "MatrixHit": struct({**hit, **more}, optional=tuple(more)),
        "MatrixSearchAnswer": struct(
            {"results": array(reference("MatrixHit")), **_ABOUT_RESULTS},
            "The nearest first; with a mode of words, those with the greatest score.",
            optional=_OPTIONAL,
        ),
        "MatrixPassage": struct({**passage, "score": NUMBER, "metadata": _ANY}, optional=("score", "metadata")),
        "MatrixContext": struct(
            {"passages": array(reference("MatrixPassage")), "text": STRING, "omitted": INTEGER, **_ABOUT_RESULTS},
            "`text` has all passages with their numbers and sources; `omitted` results did not fit.",
            optional=_OPTIONAL,
        ),
        "PlaybookId": struct({"playbook_id": STRING}),
        "PlaybookResult": struct(result, optional=("playbook_id", "error")),
        "PlaybookBatchAnswer": struct(
            {"recorded": INTEGER, "failed": INTEGER, "results": array(reference("PlaybookResult"))}
        ),
    }
