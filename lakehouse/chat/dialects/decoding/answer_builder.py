"""Assembles one answer, for every dialect and for whole and streamed answers alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from io import StringIO

from msgspec import UNSET

from lakehouse.chat.dialects.base import MAX_ANSWER
from lakehouse.chat.dialects.decoding.reasoning import ReasoningDetails
from lakehouse.chat.dialects.decoding.supplements import SupplementsBuilder
from lakehouse.chat.dialects.decoding.think_splitter import Kind, Split, ThinkSplitter
from lakehouse.chat.dialects.decoding.tool_call_assembler import ToolCallAssembler
from lakehouse.chat.dialects.decoding.usage import UsageCounter
from lakehouse.chat.dialects.errors.redaction import redact_and_truncate
from lakehouse.chat.dialects.lenient_json import JsonObject, encode_json
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.schema.answer_tool import is_answer_tool, unwrap_answer
from lakehouse.chat.model.answer import FinishReason, ProviderAnswer
from lakehouse.chat.model.pieces import (
    ContentPiece,
    Delta,
    DetailedContentPiece,
    ReasoningDetailsPiece,
    ReasoningPiece,
    SupplementPiece,
    ToolCallPiece,
)
from lakehouse.chat.model.tool_calls import AnyToolCall
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import make_failure

FINISH_REASONS: dict[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_context_window_exceeded": "length",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "sensitive": "content_filter",  # GLM
}
"""Finish reasons of the providers that are not `stop`. Every other value means that the model ended its answer."""

FAILURE_REASONS = {"error", "network_error", "insufficient_system_resource"}
"""Finish reasons that are failures: OpenRouter's, GLM's and DeepSeek's."""


class AnswerBuilder:
    """Adds up the content of an answer, and returns each addition as deltas.

    Every `add_*` method raises `upstream_error` beyond `MAX_ANSWER` characters.
    """

    def __init__(self, quirks: Quirks) -> None:
        self.provider = quirks.provider
        self.usage = UsageCounter()
        self.reasoning_details = ReasoningDetails()
        self.supplements = SupplementsBuilder()
        self.finish_reason: FinishReason | None = None
        self.finished = False  # the end mark was read: only usage and cost may follow
        self._ended_by_usage = False  # usage was read last, and the provider ends streams with it
        self._refused = False
        self._has_other_content = False
        self._content = StringIO()  # a list of pieces takes five times the memory of their text
        self._reasoning = StringIO()
        self._assembler = ToolCallAssembler(quirks.tool_names)
        self._tool_calls: list[AnyToolCall] = []  # of the caller's tools
        self._text_size = 0  # characters of text and reasoning
        self._other_size = 0  # characters of tool calls, reasoning details and supplements
        self._splitter: ThinkSplitter | None = None
        if quirks.inline_think != "never":
            self._splitter = ThinkSplitter(unopened=quirks.inline_think == "unopened")

    @property
    def complete(self) -> bool:
        """True once the answer is known to be whole."""
        return self.finish_reason is not None or (self._ended_by_usage and self._assembler.all_parsable())

    @property
    def empty(self) -> bool:
        """True while the answer has no content."""
        held = self._splitter and self._splitter.held_size
        has_other = self._has_other_content or self.supplements.has_media
        return not (self._text_size or self._assembler or held or has_other)

    @property
    def size(self) -> int:
        """Characters of all content, including text that is held back and fragments of tool calls."""
        held = self._splitter.held_size if self._splitter else 0
        return self._text_size + self._other_size + held

    @property
    def text_length(self) -> int:
        """Characters of the text so far."""
        return self._content.tell()

    def add_text(self, text: str) -> list[Delta]:
        """Add text."""
        if not text:
            return []
        self._ended_by_usage = False
        if self._splitter is not None:
            deltas = self._append_splits(self._splitter.feed(text))
            if not deltas:
                self._check_size()  # of the text that is held back
            return deltas
        self._text_size += len(text)
        if self._text_size + self._other_size > MAX_ANSWER:  # inlined `_check_size`: a stream runs this for every chunk
            self._check_size()
        self._content.write(text)
        return [ContentPiece(text)]

    def add_reasoning(self, text: str) -> list[Delta]:
        """Add reasoning from a field of its own. A provider with such a field does not leak reasoning into the text."""
        if not text:
            return []
        held = self._splitter.flush() if self._splitter else []
        self._splitter = None
        return [*self._append_splits(held), self._append("reasoning", text)]

    def add_refusal(self, text: str) -> list[Delta]:
        """Add a refusal by the model, for which OpenAI has a field of its own. It is part of the text."""
        if not text:
            return []
        self._refused = True
        self.supplements.add_refusal(text)
        return [
            DetailedContentPiece(delta.text, refusal=True) if isinstance(delta, ContentPiece) else delta
            for delta in self.add_text(text)
        ]

    def attach_logprobs(self, deltas: list[Delta], logprobs: JsonObject) -> list[Delta]:
        """Return `deltas` with the probabilities of their tokens: on the text if it is one piece, else beside it."""
        if not logprobs:
            return deltas
        self.supplements.add_logprobs(logprobs)
        texts = [index for index, delta in enumerate(deltas) if isinstance(delta, ContentPiece)]
        if len(texts) != 1:
            return [*deltas, SupplementPiece(logprobs=logprobs)]
        piece = deltas[texts[0]]
        refusal = piece.refusal if isinstance(piece, DetailedContentPiece) else UNSET
        text = piece.text if isinstance(piece, ContentPiece) else ""
        deltas[texts[0]] = DetailedContentPiece(text, logprobs=logprobs, refusal=refusal)
        return deltas

    def add_supplements(
        self,
        *,
        annotations: Iterable[JsonObject] = (),
        images: Iterable[JsonObject] = (),
        audio: JsonObject | None = None,
    ) -> list[Delta]:
        """Add annotations, images and audio; those that were added before give no delta."""
        supplements = self.supplements
        new_annotations = tuple(supplements.add_annotations(annotations))
        new_images = tuple(supplements.add_images(images))
        new_audio = supplements.add_audio(audio) if audio else {}
        self._update_other_size()
        if not new_annotations and not new_images and not new_audio:
            return []
        self._ended_by_usage = False
        return [
            SupplementPiece(annotations=new_annotations or UNSET, images=new_images or UNSET, audio=new_audio or UNSET)
        ]

    def add_tool_calls(self, fragments: Iterable[JsonObject]) -> list[Delta]:
        """Add whole tool calls, or the fragments of one delta, in OpenAI's or Ollama's shape."""
        return self._assemble(partial(self._assembler.add, fragments))

    def add_tool_call_fragment(
        self,
        index: object,
        *,
        id: str = "",  # noqa: A002
        name: str = "",
        arguments: object = None,
        custom: bool = False,
    ) -> list[Delta]:
        """Add one fragment of a tool call, for dialects with another shape than OpenAI's."""
        return self._assemble(partial(self._assembler.add_fragment, index, id, name, arguments, custom))

    def add_reasoning_details(self, entries: Iterable[JsonObject]) -> None:
        """Add reasoning that is to be sent back verbatim, whole or as deltas."""
        self.reasoning_details.add(entries)
        self._update_other_size()

    def take_signed_reasoning(self) -> list[Delta]:
        """Return the signed and encrypted reasoning that is complete and that no delta has carried yet. To be called
        after the deltas of its text."""
        entries = self.reasoning_details.take_signed()
        return [ReasoningDetailsPiece(entries)] if entries else []

    def set_finish_reason(self, reason: str, *, default: FinishReason = "stop") -> None:
        """Take the provider's finish reason; raises `upstream_error` for a reason that is a failure."""
        if reason.lower() in FAILURE_REASONS:
            raise self.build_error(f"the provider broke off the answer (finish reason {reason[:40]})")
        self.finish_reason = FINISH_REASONS.get(reason.lower(), default)

    def mark_finished(self) -> None:
        """Record that the end mark was read."""
        self.finished = True

    def mark_content(self) -> None:
        """Record content that no delta can carry. An answer with it is not empty."""
        self._has_other_content = True

    def mark_ended_by_usage(self, ended: bool) -> None:
        """Record whether usage was read last, for a provider that ends streams with it. Content resets the mark."""
        self._ended_by_usage = ended

    def flush(self) -> list[Delta]:
        """Return text that was held back and the calls that are still open, once the answer is complete. Those of an
        incomplete answer stay: how they would have continued is unknown."""
        if not self.complete:
            return []
        held = self._append_splits(self._splitter.flush()) if self._splitter else []
        try:
            calls = self._assembler.finish(cut=self.finish_reason == "length")
        except ValueError as error:
            raise self.build_error(str(error)) from None
        return [*held, *self._append_calls(calls)]

    def build_answer(self) -> ProviderAnswer:
        """Return the answer after its end. Raises `incomplete_stream` or `empty_response`."""
        if self.empty and (self.complete or self.finished):
            raise self._build_empty_error()
        if not self.complete:
            message = f"the answer of {self.provider} was cut: it ended without a finish reason"
            raise make_failure("incomplete_stream", message, provider=self.provider, upstream_status=200)
        calls = self._tool_calls
        reason: FinishReason = self.finish_reason or "stop"
        return ProviderAnswer(
            content=self._content.getvalue(),
            reasoning=self._reasoning.getvalue(),
            tool_calls=tuple(calls),
            finish_reason="tool_calls" if calls else "content_filter" if self._refused else reason,
            usage=self.usage.build_usage(),
            reasoning_details=tuple(self.reasoning_details.entries),
            supplements=self.supplements.build(),
        )

    def build_error(self, message: str, *, retryable: bool | None = None) -> LakehouseError:
        """Return an `upstream_error` about this answer; `retryable` None: the default of the class."""
        message = f"{self.provider}: {message}"
        return make_failure("upstream_error", message, provider=self.provider, upstream_status=200, retryable=retryable)

    def build_too_large_error(self, message: str) -> LakehouseError:
        """Return the error for an answer beyond a limit. It is not retryable: the next answer would be as large."""
        return self.build_error(message, retryable=False)

    def build_unknown_shape_error(self, document: JsonObject) -> LakehouseError:
        """Return the error for a whole answer of another dialect."""
        return self.build_error(f"the answer is not understood: {redact_and_truncate(encode_json(document))}")

    def _build_empty_error(self) -> LakehouseError:
        if self.finish_reason == "content_filter":
            message = f"{self.provider} withheld the whole answer (content filter)"
            return make_failure("content_policy", message, provider=self.provider, upstream_status=200)
        message = f"{self.provider} gave an empty answer: no text, no reasoning, no tool call"
        return make_failure("empty_response", message, provider=self.provider, upstream_status=200)

    def _assemble(self, add_fragments: Callable[[], list[AnyToolCall]]) -> list[Delta]:
        try:
            completed = add_fragments()
        except ValueError as error:
            raise self.build_too_large_error(str(error)) from None
        self._update_other_size()
        return self._append_calls(completed)

    def _append_calls(self, calls: Iterable[AnyToolCall]) -> list[Delta]:
        """Append calls. The arguments of the answer tool are the text of a structured answer."""
        deltas: list[Delta] = []
        for call in calls:
            if is_answer_tool(call.function.name):
                deltas.append(self._append("content", unwrap_answer(call)))
            else:
                self._tool_calls.append(call)
                deltas.append(ToolCallPiece(call))
        return deltas

    def _append_splits(self, splits: Iterable[Split]) -> list[Delta]:
        return [self._append(kind, text) for kind, text in splits]

    def _append(self, kind: Kind, text: str) -> Delta:
        self._text_size += len(text)
        self._check_size()
        if kind == "content":
            self._content.write(text)
            return ContentPiece(text)
        self._reasoning.write(text)
        return ReasoningPiece(text)

    def _update_other_size(self) -> None:
        self._other_size = self._assembler.size + self.reasoning_details.size + self.supplements.size
        self._check_size()

    def _check_size(self) -> None:
        if self.size > MAX_ANSWER:
            raise self.build_too_large_error(f"the answer is over the bound of {MAX_ANSWER} characters")
