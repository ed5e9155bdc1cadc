"""Parser for an answer that must match `format`."""

from __future__ import annotations

from lakehouse.chat.dialects.base import StreamParser
from lakehouse.chat.dialects.decoding.delegating_parser import DelegatingParser
from lakehouse.chat.dialects.decoding.deltas import build_text_deltas, is_text_delta
from lakehouse.chat.dialects.schema.validate import AnswerValidator
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import Delta


class ValidatingParser(DelegatingParser):
    """Checks the answer of `inner` at the end, with `validator`.

    `schema_enforced`: the provider enforces the schema, so text is passed on as it arrives. Otherwise text is held
    back, and the JSON in it, without prose and code fence, is returned in one piece at the end.

    Raises as `inner`, and `upstream_error` at the end for an answer that does not match.
    """

    def __init__(self, inner: StreamParser, validator: AnswerValidator, *, schema_enforced: bool) -> None:
        super().__init__(inner)
        self._validator = validator
        self._schema_enforced = schema_enforced
        self._answer: ProviderAnswer | None = None

    def feed(self, data: bytes) -> list[Delta]:
        """Return the deltas of `inner` that are not held back."""
        return self._select(self._inner.feed(data))

    def flush(self) -> list[Delta]:
        """Return the remaining deltas; without `schema_enforced`, validate the answer and return its text."""
        if self._answer is not None:
            return []
        deltas = self._select(self._inner.flush())
        if self._schema_enforced:
            return deltas
        self._answer = self._validator.validate(self._inner.end())
        return [*deltas, *build_text_deltas(self._answer)]

    def end(self) -> ProviderAnswer:
        """Return the validated answer."""
        self.flush()
        if self._answer is None:
            self._answer = self._validator.validate(self._inner.end(), only_json=True)
        return self._answer

    def _select(self, deltas: list[Delta]) -> list[Delta]:
        return deltas if self._schema_enforced else [delta for delta in deltas if not is_text_delta(delta)]
