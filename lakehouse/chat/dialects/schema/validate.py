"""Checking JSON answers: is it JSON, does it fit the schema, and where does it not.

No provider is trusted with it, those that enforce the schema included: grammars are ignored by some builds
(ollama#17183) and some models (ollama#8063). What does not fit is an error and never passed off as fitting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

import msgspec

from lakehouse.chat.dialects.lenient_json import JsonObject, load
from lakehouse.chat.dialects.reasoning import ThinkSplitter
from lakehouse.chat.dialects.schema.cost import SchemaCost
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.core.errors import ErrBadRequest, ErrUpstream, LakehouseError

if TYPE_CHECKING:
    from jsonschema_rs import Validator

ATTEMPTS = 64
"""How many places in a text are tried where a JSON value may begin."""

MAX_CHECKS = 20_000_000
"""Checks of a value against a schema that an answer may take, of which a million takes some tens of milliseconds."""

MAX_FINDINGS = 200_000
"""The same for finding out what to say of an answer that does not fit, which takes some thirty times as long."""

_FENCE = re.compile(r"```[\w-]*[ \t]*\r?\n(.*?)(?:\r?\n)?```", re.DOTALL)


def compile_schema(schema: JsonObject, *, field: str = "format") -> tuple[Validator, SchemaCost]:
    """What checks values against `schema`, and what that takes; raises `ErrBadRequest` naming the field if it is no
    JSON schema, or one that no answer could be checked against in reasonable time.

    References are resolved inside the schema only: nothing is fetched because a caller says so.
    """
    import jsonschema_rs  # 15 ms, and only structured answers need it

    try:
        effort = SchemaCost(schema)  # first, for the other would put in the place of each reference what it refers to
        return jsonschema_rs.validator_for(schema, offline=True), effort
    except (ValueError, RecursionError) as error:
        said = str(error).partition("\n")[0][:200]
        raise ErrBadRequest(f"`{field}` is not a JSON schema that can be used: {said}") from None


class SchemaMismatch(ErrUpstream):
    """An answer that is whole and is not what `format` asks for. It speaks of the model, not of the route to it."""


class AnswerValidator:
    """What an answer has to be: JSON (`wanted` is `"json"`), or JSON that fits the schema `wanted`."""

    def __init__(self, wanted: JsonObject | str, *, provider: str) -> None:
        self._schema = None if isinstance(wanted, str) else compile_schema(wanted)
        self._provider = provider

    def validated(self, reply: ProviderAnswer, *, as_it_is: bool = False) -> ProviderAnswer:
        """The reply with nothing but the JSON as its content. Raises `upstream_error` saying where it does not fit;
        `as_it_is`: also if anything stands around the JSON, for the text was given out already.

        An answer that ended for another reason than having been given is left alone: one that `length` or the content
        filter cut says so itself, and one that calls a tool of the caller's has not been given yet.
        """
        if reply.finish_reason != "stop" or (not reply.content and reply.reasoning):
            return reply
        found = self.json_in(reply.content)
        if as_it_is and found != reply.content.strip():
            raise self._failure("there is other text around the JSON")
        return msgspec.structs.replace(reply, content=found)

    def json_in(self, text: str) -> str:
        """The JSON in a text, cut out of think block, prose and fence; raises `upstream_error` if none of it fits."""
        misfit = ""
        for candidate in _candidates(text):
            try:
                value = _parsed(candidate)
            except ValueError:
                continue
            if self._fits(value):
                return candidate
            misfit = misfit or self._misfit(value)
        raise self._failure(misfit or "it is not JSON")

    def _fits(self, value: object) -> bool:
        if self._schema is None:
            return True
        validator, effort = self._schema
        if effort.checks(value) > MAX_CHECKS:
            raise self._failure("it is too large, for a schema of so many alternatives, to be checked")
        return validator.is_valid(value)

    def _misfit(self, value: object) -> str:
        """Where a value does not fit first."""
        if self._schema is None:
            return ""
        validator, effort = self._schema
        if effort.findings(value) > MAX_FINDINGS:
            return "it is too large, for a schema of so many alternatives, to say where"
        error = next(iter(validator.iter_errors(value)))
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
        return f"at `${place}`: {error.message[:200]}"

    def _failure(self, what: str) -> LakehouseError:
        return SchemaMismatch(
            f"the answer of {self._provider} does not fit `format`: {what}",
            provider=self._provider,
            upstream_status=200,
            error_class="upstream_error",
            retryable=True,
        )


def _candidates(text: str) -> Iterator[str]:
    """The parts of a text that may be the JSON that was asked for, the likeliest first: all of it, a fenced block, then
    the first value that begins somewhere in it."""
    splitter = ThinkSplitter(unopened=True)
    splits = [*splitter.feed(text), *splitter.end()]
    bare = "".join(said for kind, said in splits if kind == "content").strip()
    yield text.strip()
    if bare != text.strip():
        yield bare
    for block in _FENCE.findall(bare):
        yield block.strip()
    yield from _values(bare)


def _values(text: str) -> Iterator[str]:
    """The objects and arrays that stand in a text, but not those in them: what is a part of an answer is none."""
    decoder = json.JSONDecoder(parse_constant=_refuse)
    place = 0
    for _ in range(ATTEMPTS):
        found = re.compile(r"[{\[]").search(text, place)
        if found is None:
            return
        try:
            _, place = decoder.raw_decode(text, found.start())
        except (ValueError, RecursionError):
            place = found.end()
        else:
            yield text[found.start() : place]


def _parsed(text: str) -> object:
    return load(text.encode("utf-8", "replace"))


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
