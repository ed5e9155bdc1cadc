"""The request of one attempt as its client wrote it, and the reading of its answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import msgspec

from lakehouse.chat.dialects.base import Dialect, StreamParser
from lakehouse.chat.dialects.decoding.stream_or_body_parser import StreamOrBodyParser, is_streamed
from lakehouse.chat.dialects.encoding.capabilities import fit_to_capabilities
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.relay.json_members import append_member, remove_members
from lakehouse.chat.dialects.relay.model_renamer import ModelRenamer
from lakehouse.chat.dialects.relay.model_strings import replace_model
from lakehouse.chat.dialects.relay.relaying_line_parser import RelayingLineParser
from lakehouse.chat.dialects.relay.relaying_parser import RelayingParser
from lakehouse.chat.dialects.relay.rules import RelayRules
from lakehouse.chat.dialects.request_changes import RequestChanges
from lakehouse.chat.dialects.schema.answer_tool import get_callable_names
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.raw_request import RawRequest
from lakehouse.chat.model.request import OllamaRequest, Request


class RelayCodec:
    """One relayed request, and the decoding of its answer: the counterpart of `CallCodec`.

    `body` is the client's, with the provider's name of the model. `model` is the name in the answer. Made by `create`.
    """

    def __init__(self, dialect: Dialect, rules: RelayRules, body: bytes, model: str, quirks: Quirks) -> None:
        self.body = body
        self.changes = RequestChanges()
        self.withholds = False
        self.include_usage = True
        self._dialect = dialect
        self._rules = rules
        self._model = model
        self._quirks = quirks

    @classmethod
    def create(
        cls, dialect: Dialect, request: Request, raw: RawRequest, *, model: str, stream: bool, quirks: Quirks
    ) -> Self | None:
        """Return the codec of a request that can be relayed; None: it must be rebuilt.

        Raises `ErrBadRequest` naming the field if the provider does not support the request.
        """
        rules = dialect.relay
        if rules is None or dialect.form != raw.form or stream != request.stream:
            return None
        if not _is_unchanged(dialect, rules, request, raw, quirks):
            return None
        body = replace_model(raw.body, msgspec.json.encode(model))
        if request.fallbacks or any(map(body.__contains__, rules.own_fields)):
            body = remove_members(body, [name.strip(b'"') for name in rules.own_fields])
        if request.tools:
            quirks = replace(quirks, tool_names=get_callable_names(request.tools))
        if member := rules.get_default_member(request, quirks):
            body = append_member(body, member)
        repeated = request.model if rules.repeats_model else model
        shown = request.model_name if isinstance(request, OllamaRequest) else repeated
        codec = cls(dialect, rules, body, shown, quirks)
        codec.include_usage = raw.include_usage
        if stream and (member := rules.get_added_member(raw, quirks)):
            codec.body = append_member(body, member)
            codec.withholds = True
        return codec

    def decode(self, body: bytes) -> tuple[ProviderAnswer, bytes | None]:
        """Return the answer in `body`, and the bytes to pass on. These are None if the body is not well-formed in
        the client's form, or is a stream although none was requested. Raises as `Dialect.decode`."""
        answer = self._rules.decode_text(body, self._quirks)
        if answer is None and is_streamed(body, self._dialect):
            parser = self._dialect.make_parser(quirks=self._quirks)
            parser.feed(body)
            return parser.end(), None
        if answer is None:
            answer = self._dialect.decode(body, quirks=self._quirks)
            if not self._rules.is_well_formed(body, answer):
                return answer, None
        return answer, ModelRenamer(self._rules.model_places, self._model).rename_body(body)

    def make_parser(self) -> StreamParser:
        """Return a parser of the stream, which also accepts a whole body instead; that gives pieces as usual. It raises
        as `StreamParser`."""
        return StreamOrBodyParser(replace(self._dialect, make_parser=self._make_relaying_parser), self._quirks)

    def _make_relaying_parser(self, *, quirks: Quirks) -> StreamParser:
        parser = RelayingLineParser if self._dialect.framing == "ndjson" else RelayingParser
        return parser(
            self._dialect.make_parser(quirks=quirks),
            self._rules,
            ModelRenamer(self._rules.model_places, self._model),
            withholds=self.withholds,
            include_usage=self.include_usage,
        )


def _is_unchanged(dialect: Dialect, rules: RelayRules, request: Request, raw: RawRequest, quirks: Quirks) -> bool:
    try:
        if not rules.checks_capabilities:
            return rules.is_unchanged(request, raw, quirks)
        fitted = fit_to_capabilities(request, dialect.capabilities, quirks, RequestChanges())
        return (fitted is request or fitted == request) and rules.is_unchanged(request, raw, quirks)
    except (RecursionError, OverflowError):
        return False  # `CallCodec` raises the error that names the field
