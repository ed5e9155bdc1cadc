"""Validation of JSON answers: is it JSON, does it match the schema, and where does it not.

Every answer is validated, those of providers that enforce the schema included: some builds (ollama#17183) and some
models (ollama#8063) ignore the grammar. An answer that does not match is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lakehouse.chat.dialects.lenient_json import JsonObject, decode_json
from lakehouse.chat.dialects.schema.cost import SchemaCost
from lakehouse.chat.dialects.schema.json_candidates import find_candidates
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.core.errors import ErrBadRequest, ErrUpstream, LakehouseError

if TYPE_CHECKING:
    from jsonschema_rs import Validator

MAX_CHECKS = 20_000_000
"""Checks of a value against a schema object that one answer may take; a million takes some tens of milliseconds."""

MAX_ERROR_CHECKS = 200_000
"""The same for locating the first mismatch, where a check takes about thirty times as long."""


def compile_schema(schema: JsonObject, *, field: str = "format") -> tuple[Validator, SchemaCost]:
    """Return a validator for `schema`, and its cost. Raises `ErrBadRequest` naming `field` for an invalid schema, and
    for one against which no answer could be checked in reasonable time.

    References are resolved inside the schema only; nothing is fetched.
    """
    import jsonschema_rs  # 15 ms, and only structured answers need it

    try:
        cost = SchemaCost(schema)  # first, because the validator expands every reference
        return jsonschema_rs.validator_for(schema, offline=True), cost
    except (ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise ErrBadRequest(f"`{field}` is not a JSON schema that can be used: {reason}", field=field) from None


class SchemaMismatch(ErrUpstream):
    """A complete answer that does not match `format`. The model is at fault, not the route to it."""


class AnswerValidator:
    """Checks that an answer is JSON (`wanted` is `"json"`), or JSON that matches the schema `wanted`."""

    def __init__(self, wanted: JsonObject | str, *, provider: str) -> None:
        self._schema = None if isinstance(wanted, str) else compile_schema(wanted)
        self._provider = provider

    def validate(self, answer: ProviderAnswer, *, only_json: bool = False) -> ProviderAnswer:
        """Return the answer with its JSON alone as the content. Raises `upstream_error` with the place of the first
        mismatch; with `only_json` also for other text around the JSON, which a caller that has delivered the text
        cannot remove.

        An answer that ended for another reason than `stop` is returned as it is: `length` and `content_filter` report
        the cut themselves, and an answer that calls a tool of the caller is not the final one.
        """
        if answer.finish_reason != "stop" or (not answer.content and answer.reasoning):
            return answer
        found = self.extract_json(answer.content)
        if only_json and found != answer.content.strip():
            raise self._build_error("there is other text around the JSON")
        return msgspec.structs.replace(answer, content=found)

    def extract_json(self, text: str) -> str:
        """Return the JSON in a text, without think block, prose and code fence; raises `upstream_error` if none
        matches."""
        mismatch = ""
        for candidate in find_candidates(text):
            try:
                value = decode_json(candidate.encode("utf-8", "replace"))
            except ValueError:
                continue
            if self._matches(value):
                return candidate
            mismatch = mismatch or self._describe_mismatch(value)
        raise self._build_error(mismatch or "it is not JSON")

    def _matches(self, value: object) -> bool:
        if self._schema is None:
            return True
        validator, cost = self._schema
        if cost.estimate_checks(value) > MAX_CHECKS:
            raise self._build_error("it is too large, for a schema of so many alternatives, to be checked")
        return validator.is_valid(value)

    def _describe_mismatch(self, value: object) -> str:
        """Return the place and the kind of the first mismatch."""
        if self._schema is None:
            return ""
        validator, cost = self._schema
        if cost.estimate_error_checks(value) > MAX_ERROR_CHECKS:
            return "it is too large, for a schema of so many alternatives, to say where"
        error = next(iter(validator.iter_errors(value)))
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
        return f"at `${path}`: {error.message[:200]}"

    def _build_error(self, reason: str) -> LakehouseError:
        return SchemaMismatch(
            f"the answer of {self._provider} does not fit `format`: {reason}",
            provider=self._provider,
            upstream_status=200,
            error_class="upstream_error",
            retryable=True,
        )
