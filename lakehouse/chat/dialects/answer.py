"""An answer that is being put together, the same for every dialect and for whole and streamed ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from io import StringIO

from msgspec import UNSET

from lakehouse.chat.dialects.answer_extras import Collected
from lakehouse.chat.dialects.base import MAX_ANSWER, Quirks
from lakehouse.chat.dialects.errors.redaction import redact_and_truncate
from lakehouse.chat.dialects.lenient_json import JsonObject, dump
from lakehouse.chat.dialects.reasoning import Details, Kind, Split, ThinkSplitter
from lakehouse.chat.dialects.tools import ANSWER_TOOL, WRAPPED_ANSWER_TOOL, CallAssembler, arguments_object
from lakehouse.chat.dialects.usage import UsageCounter
from lakehouse.chat.model.answer import FinishReason, ProviderAnswer
from lakehouse.chat.model.pieces import (
    ContentPiece,
    Delta,
    DetailedContentPiece,
    ReasoningPiece,
    SupplementPiece,
    ToolCallPiece,
)
from lakehouse.chat.model.tool_calls import AnyToolCall
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import failure

FINISH_REASONS: dict[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_context_window_exceeded": "length",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "sensitive": "content_filter",  # GLM
}
"""What providers call the ends that are not `stop`. Whatever else they write there, the model came to an end."""

BROKEN = {"error", "network_error", "insufficient_system_resource"}
"""Finish reasons that are failures: OpenRouter's, GLM's and DeepSeek's."""


class AnswerBuilder:
    """Adds up what an answer says, and turns it into deltas on the way."""

    def __init__(self, quirks: Quirks) -> None:
        self.provider = quirks.provider
        self.meter = UsageCounter()
        self.details = Details()
        self.supplements = Collected()
        self.finish_reason: FinishReason | None = None
        self.finished = False  # the end mark was seen: only accounting follows
        self.ended_by_usage = False  # the last thing said was the usage, and that is an end here
        self._refused = False
        self._content = StringIO()  # a list of the pieces takes five times the memory of what they say
        self._reasoning = StringIO()
        self._calls = CallAssembler(quirks.tool_names)
        self._calls_of_caller: list[AnyToolCall] = []
        self._size = 0
        self._splitter: ThinkSplitter | None = None
        if quirks.inline_think != "never":
            self._splitter = ThinkSplitter(unopened=quirks.inline_think == "unopened")

    @property
    def complete(self) -> bool:
        """Proven whole."""
        return self.finish_reason is not None or (self.ended_by_usage and self._calls.parsable())

    @property
    def empty(self) -> bool:
        """Nothing was said yet."""
        held = self._splitter and self._splitter.held
        return not (self._size or self._calls or held or self.supplements.shown)

    @property
    def size(self) -> int:
        """Characters of everything that was said, what is held back and fragments of tool calls included."""
        held = self._splitter.held if self._splitter else 0
        return self._size + self._calls.size + self.details.size + self.supplements.size + held

    def content(self, text: str) -> list[Delta]:
        """Some more text."""
        if not text:
            return []
        self.ended_by_usage = False
        if self._splitter is not None:
            return self._pieces(self._splitter.feed(text))
        self._size += len(text)
        if self._size + self._calls.size + self.details.size + self.supplements.size > MAX_ANSWER:
            self._bounded()
        self._content.write(text)
        return [ContentPiece(text)]

    def reasoning(self, text: str) -> list[Delta]:
        """Some more reasoning, from a field of its own: then it does not leak into the text, either."""
        if not text:
            return []
        held = self._splitter.end() if self._splitter else []
        self._splitter = None
        return [*self._pieces(held), self._piece("reasoning", text)]

    def refusal(self, text: str) -> list[Delta]:
        """What the model says instead of an answer that it refuses; OpenAI gives it a field of its own."""
        if not text:
            return []
        self._refused = True
        self.supplements.refuse(text)
        return [
            DetailedContentPiece(delta.text, refusal=True) if isinstance(delta, ContentPiece) else delta
            for delta in self.content(text)
        ]

    def rated(self, deltas: list[Delta], logprobs: JsonObject) -> list[Delta]:
        """These deltas with the probabilities of their tokens: with the text, if it is one piece, else beside it."""
        if not logprobs:
            return deltas
        self.supplements.rate(logprobs)
        texts = [index for index, delta in enumerate(deltas) if isinstance(delta, ContentPiece)]
        if len(texts) != 1:
            return [*deltas, SupplementPiece(logprobs=logprobs)]
        text = deltas[texts[0]]
        refused = text.refusal if isinstance(text, DetailedContentPiece) else UNSET
        said = text.text if isinstance(text, ContentPiece) else ""
        deltas[texts[0]] = DetailedContentPiece(said, logprobs=logprobs, refusal=refused)
        return deltas

    def supplement(
        self,
        *,
        annotations: Iterable[JsonObject] = (),
        images: Iterable[JsonObject] = (),
        audio: JsonObject | None = None,
    ) -> list[Delta]:
        """What is said beside text; what was said already is not said again."""
        found = self.supplements
        new, shown = tuple(found.annotate(annotations)), tuple(found.show(images))
        sounded = found.sound(audio) if audio else {}
        self._bounded()
        if not new and not shown and not sounded:
            return []
        self.ended_by_usage = False
        return [SupplementPiece(annotations=new or UNSET, images=shown or UNSET, audio=sounded or UNSET)]

    @property
    def place(self) -> int:
        """Characters of the text so far."""
        return self._content.tell()

    def calls(self, fragments: Iterable[JsonObject]) -> list[Delta]:
        """Fragments of tool calls, or whole ones."""
        return self._assembled(partial(self._calls.add, fragments))

    def fragment(
        self,
        index: object,
        *,
        id: str = "",  # noqa: A002
        name: str = "",
        arguments: object = None,
        custom: bool = False,
    ) -> list[Delta]:
        """One fragment of a tool call, for forms that are not OpenAI's."""
        return self._assembled(partial(self._calls.fragment, index, id, name, arguments, custom))

    def _assembled(self, calls: Callable[[], list[AnyToolCall]]) -> list[Delta]:
        try:
            given = calls()
        except ValueError as error:
            raise self.too_large(str(error)) from None
        self._bounded()
        return self._called(given)

    def add_reasoning_details(self, entries: Iterable[JsonObject]) -> None:
        """Reasoning that is to be sent back verbatim, whole or as deltas."""
        self.details.add(entries)
        self._bounded()

    def finish(self, reason: str, *, default: FinishReason = "stop") -> None:
        """The provider's finish reason; raises for one that is a failure."""
        if reason.lower() in BROKEN:
            raise self.failure(f"the provider broke off the answer (finish reason {reason[:40]})")
        self.finish_reason = FINISH_REASONS.get(reason.lower(), default)

    def flush(self) -> list[Delta]:
        """Once the answer is whole: text that was held back, and the calls that were still open. Of a cut one they stay
        where they are: what they would have become is not known."""
        if not self.complete:
            return []
        held = self._pieces(self._splitter.end()) if self._splitter else []
        try:
            calls = self._calls.end(cut=self.finish_reason == "length")
        except ValueError as error:
            raise self.failure(str(error)) from None
        return [*held, *self._called(calls)]

    def reply(self) -> ProviderAnswer:
        """The answer, which has ended. Raises `incomplete_stream` or `empty_response` if it is none."""
        if self.empty and (self.complete or self.finished):
            raise self._nothing_said()
        if not self.complete:
            raise failure(
                "incomplete_stream",
                f"the answer of {self.provider} was cut: it ended without a finish reason",
                provider=self.provider,
                upstream_status=200,
            )
        calls = self._calls_of_caller
        ended: FinishReason = self.finish_reason or "stop"
        return ProviderAnswer(
            content=self._content.getvalue(),
            reasoning=self._reasoning.getvalue(),
            tool_calls=tuple(calls),
            finish_reason="tool_calls" if calls else "content_filter" if self._refused else ended,
            usage=self.meter.usage(),
            reasoning_details=tuple(self.details.entries),
            supplements=self.supplements.all(),
        )

    def failure(self, message: str) -> LakehouseError:
        """An `upstream_error` about this answer."""
        return failure("upstream_error", f"{self.provider}: {message}", provider=self.provider, upstream_status=200)

    def too_large(self, message: str) -> LakehouseError:
        """The failure of an answer over its bound. It is not asked for again: it would be as large another time."""
        error = self.failure(message)
        error.retryable = False
        return error

    def not_understood(self, document: JsonObject) -> LakehouseError:
        """The failure that a whole answer is which has another form."""
        return self.failure(f"the answer is not understood: {redact_and_truncate(dump(document))}")

    def _called(self, calls: Iterable[AnyToolCall]) -> list[Delta]:
        """Calls as deltas. The call of the tool that stands for a structured answer is its text."""
        deltas: list[Delta] = []
        for call in calls:
            if call.function.name in (ANSWER_TOOL, WRAPPED_ANSWER_TOOL):
                deltas.append(self._piece("content", _unwrap_answer_tool(call)))
            else:
                self._calls_of_caller.append(call)
                deltas.append(ToolCallPiece(call))
        return deltas

    def _nothing_said(self) -> LakehouseError:
        if self.finish_reason == "content_filter":
            message = f"{self.provider} withheld the whole answer (content filter)"
            return failure("content_policy", message, provider=self.provider, upstream_status=200)
        message = f"{self.provider} gave an empty answer: no text, no reasoning, no tool call"
        return failure("empty_response", message, provider=self.provider, upstream_status=200)

    def _pieces(self, splits: Iterable[Split]) -> list[Delta]:
        return [self._piece(kind, text) for kind, text in splits]

    def _piece(self, kind: Kind, text: str) -> Delta:
        self._size += len(text)
        self._bounded()
        if kind == "content":
            self._content.write(text)
            return ContentPiece(text)
        self._reasoning.write(text)
        return ReasoningPiece(text)

    def _bounded(self) -> None:
        if self.size > MAX_ANSWER:
            raise self.too_large(f"the answer is over the bound of {MAX_ANSWER} characters")


def _unwrap_answer_tool(call: AnyToolCall) -> str:
    arguments = call.function.arguments
    if call.function.name == ANSWER_TOOL:
        return arguments
    value = arguments_object(arguments)
    return dump(value["value"]) if "value" in value else arguments
