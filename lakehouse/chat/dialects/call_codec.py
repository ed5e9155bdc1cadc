"""Encodes one request and decodes its answer, in any dialect."""

from __future__ import annotations

from dataclasses import replace

from lakehouse.chat.dialects.base import Dialect, StreamParser
from lakehouse.chat.dialects.decoding.stream_or_body_parser import StreamOrBodyParser, is_streamed
from lakehouse.chat.dialects.decoding.validating_parser import ValidatingParser
from lakehouse.chat.dialects.encoding.anthropic_form import fit_anthropic_request, sends_own_document
from lakehouse.chat.dialects.encoding.capabilities import fit_to_capabilities
from lakehouse.chat.dialects.encoding.ollama_fields import fit_ollama_fields
from lakehouse.chat.dialects.encoding.tool_media import move_media
from lakehouse.chat.dialects.encoding.translated import name_client_field, prepare_translated
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.request_changes import RequestChanges
from lakehouse.chat.dialects.schema.answer_tool import get_callable_names
from lakehouse.chat.dialects.schema.validate import AnswerValidator
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.request import AnthropicRequest, Request, TranslatedRequest
from lakehouse.core.errors import ErrBadRequest


class CallCodec:
    """One request in one dialect, and the decoding of its answer.

    `body` is to be posted to `path`; `changes` holds the fields that `body` does not carry as the caller wrote them.
    The constructor raises `ErrBadRequest` naming the field if the dialect or provider does not support the request, or
    if `format` is no usable JSON schema.
    """

    def __init__(self, dialect: Dialect, request: Request, *, model: str, stream: bool, quirks: Quirks) -> None:
        self.path = dialect.path
        self._dialect = dialect
        self._quirks = quirks
        self.changes = RequestChanges()
        try:
            self._validator = (
                None if request.format is None else AnswerValidator(request.format, provider=quirks.provider)
            )
            if not sends_own_document(request, dialect.form):
                request = fit_ollama_fields(request, dialect.capabilities, quirks, self.changes)
                request = prepare_translated(
                    request, form=dialect.form, model=model, quirks=quirks, changes=self.changes
                )
                if isinstance(request, AnthropicRequest):
                    request = fit_anthropic_request(request, form=dialect.form, changes=self.changes)
                if isinstance(request, TranslatedRequest) and dialect.form == "chat_completions":
                    request = move_media(request)
                request = fit_to_capabilities(request, dialect.capabilities, quirks, self.changes)
            self.body = dialect.encode(request, model=model, stream=stream, quirks=quirks, changes=self.changes)
        except (RecursionError, OverflowError):
            message = "a JSON schema of the request (`format`, `tools`) is too large or nested too deeply"
            raise ErrBadRequest(message) from None
        except ErrBadRequest as error:
            raise name_client_field(error, request) from None
        if request.tools:
            self._quirks = replace(quirks, tool_names=get_callable_names(request.tools))

    def decode(self, body: bytes) -> ProviderAnswer:
        """Return the answer in `body`, which may be a stream although none was requested. Raises as `Dialect.decode`,
        and `upstream_error` for an answer that does not match `format`."""
        if is_streamed(body, self._dialect):
            answer = self._decode_stream(body)
        else:
            answer = self._dialect.decode(body, quirks=self._quirks)
        return answer if self._validator is None else self._validator.validate(answer)

    def make_parser(self) -> StreamParser:
        """Return a parser of the stream, which also accepts a whole body instead. It raises as `StreamParser`, and at
        the end `upstream_error` for an answer that does not match `format`."""
        parser: StreamParser = StreamOrBodyParser(self._dialect, self._quirks)
        if self._validator is None:
            return parser
        enforced = self._quirks.json_mode == "native" and "native" in self._dialect.json_modes
        return ValidatingParser(parser, self._validator, schema_enforced=enforced)

    def _decode_stream(self, body: bytes) -> ProviderAnswer:
        parser = self._dialect.make_parser(quirks=self._quirks)
        parser.feed(body)
        return parser.end()
