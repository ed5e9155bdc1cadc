"""The ask in the document: its operation and its schemas."""

from __future__ import annotations

from collections.abc import Mapping

from lakehouse.ask.answer import AskAnswer, AskDone
from lakehouse.ask.request import AskRequest
from lakehouse.chat.model.pieces import ContentPiece, ReasoningPiece
from lakehouse.runtime.ask import ASK_PATH
from tools.kit.doc_pages.openapi.operations import CHAT_ERRORS, EVENTS, JSON, STREAM, Operation
from tools.kit.doc_pages.openapi.translate import Schema, reference

OPERATIONS = (
    Operation(
        method="post",
        path=ASK_PATH,
        id="ask",
        tag="lake",
        summary="Ask a question about what is stored",
        description="Passages are searched in corpora and tables, and a model answers from them. Its citations are "
        f"checked: each `[n]` is a passage that it was given. {STREAM} The stream ends with exactly one event of type "
        "`done` or `error`.",
        request="AskRequest",
        answers={JSON: "AskAnswer", EVENTS: "AskEvent"},
        errors=(*CHAT_ERRORS, 405, 415, 422, 501),
    ),
)

TYPES = (AskRequest, AskAnswer, AskDone)

ABOUT: Mapping[str, str] = {
    "AskRequest": "A question. Without `corpora`, all corpora with texts are searched; the rows of `tables` are searched "
    "by word. At most `k` passages (50) are given to the model.",
    "AskAnswer": "The answer; null, and no model was asked, if no passage was found. `citations` are the passages that "
    "it cites; a claim without citations has none.",
    "AskDone": "The last event of a complete stream: the fields of an answer without its text; `answer` is there, as "
    "null, if no passage was found.",
    "Passage": "What the model was given under the number `n`: an item of a corpus or a row of a table.",
    "Claim": "A sentence of the answer, and the numbers of the passages that it cites.",
}


def schemas() -> dict[str, Schema]:
    """Documents that no type of their own stands for."""
    kinds = (ContentPiece, ReasoningPiece, AskDone)
    return {"AskEvent": {"anyOf": [*(reference(kind.__name__) for kind in kinds), reference("ErrorEvent")]}}
