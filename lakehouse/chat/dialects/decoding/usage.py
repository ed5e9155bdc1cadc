"""Tokens and cost as providers report them.

Counts are neither summed nor estimated: of a count that is reported more than once the last one holds, and a count that
the provider did not report stays None. Cost is read as Decimal, because it also arrives as a decimal string.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Annotated

from msgspec import Meta

from lakehouse.chat.dialects.lenient_json import MAX_COUNT, JsonObject, as_count, as_object
from lakehouse.chat.model.usage import Usage

SEPARATE_FIELDS = ("cached_tokens", "reasoning_tokens")
"""Details of input and output that have a field of their own in `Usage`."""

Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
"""A count in a struct of a fast path; `as_count` accepts further spellings."""

Details = dict[str, Count | None]
"""The details of input or output in a struct of a fast path."""

MAX_COST = 1_000_000_000
"""US dollars of one answer. A larger value is no price, and the sum of a few near the largest float is infinity."""


def parse_money(value: object) -> Decimal | None:
    """Return US dollars from a JSON number or a decimal string (`"0.00030400"`), None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(str(value))
    except (InvalidOperation, ValueError):  # ValueError: more digits than Python converts to text
        return None
    return amount if amount.is_finite() and 0 <= amount <= MAX_COST else None


def select_details(details: Details) -> dict[str, int] | None:
    """Return the counts that have no field of their own in `Usage`, None if there are none."""
    if not details:
        return None
    selected = {name: tokens for name, tokens in details.items() if tokens is not None and name not in SEPARATE_FIELDS}
    return selected or None


@dataclass(slots=True)
class UsageCounter:
    """Tokens and cost (US dollars) of one answer, as reported so far."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: Decimal | None = None
    extra_input: dict[str, int] = field(default_factory=dict)
    """Messages dialect: parts of the input that `input_tokens` does not include."""
    input_details: JsonObject = field(default_factory=dict)
    output_details: JsonObject = field(default_factory=dict)
    """Further counts of the two, under OpenAI's names."""

    def build_usage(self) -> Usage:
        """Return the counts as a `Usage`."""
        total = None if self.input_tokens is None else self.input_tokens + sum(self.extra_input.values())
        return Usage(
            input_tokens=total,
            output_tokens=self.output_tokens,
            cached_tokens=self.cached_tokens,
            reasoning_tokens=self.reasoning_tokens,
            cost_usd=None if self.cost is None else float(self.cost),
            input_details=self.input_details or None,
            output_details=self.output_details or None,
        )

    def set_cost(self, cost: object) -> None:
        """Take a cost. The last one holds, but zero does not replace a positive one: OpenCode repeats its cost, and its
        trailing `"0"` marks an answer that it does not bill."""
        amount = parse_money(cost)
        if amount is not None and (amount or self.cost is None):
            self.cost = amount

    def read_completion(self, document: JsonObject, choice: JsonObject) -> bool:
        """Read a completion or chunk, and its choice, where Kimi reports usage. Returns whether there was any usage."""
        if (cost := document.get("cost")) is not None:
            self.set_cost(cost)
        usages = [usage for usage in (document.get("usage"), choice.get("usage")) if usage and isinstance(usage, dict)]
        for usage in usages:
            self._set("input_tokens", usage.get("prompt_tokens"))
            self._set("output_tokens", usage.get("completion_tokens"))
            self._set("cached_tokens", usage.get("prompt_cache_hit_tokens"))  # DeepSeek's
            self._set("cached_tokens", usage.get("cached_tokens"))
            self._set_details(usage.get("prompt_tokens_details"), usage.get("completion_tokens_details"))
            self.set_cost(usage.get("cost"))
        return bool(usages)

    def read_ollama(self, document: JsonObject) -> None:
        """Read the last line of an answer; Ollama omits a count that is zero."""
        self._set("input_tokens", document.get("prompt_eval_count"))
        self._set("output_tokens", document.get("eval_count"))

    def read_message(self, usage: object) -> None:
        """Read a usage object of the messages dialect, where input comes in three parts: `input_tokens` excludes the
        tokens read from the cache and those written to it."""
        fields = as_object(usage)
        self._set("input_tokens", fields.get("input_tokens"))
        self._set("output_tokens", fields.get("output_tokens"))
        self._set("cached_tokens", fields.get("cache_read_input_tokens"))
        for part in ("cache_read_input_tokens", "cache_creation_input_tokens"):
            tokens = as_count(fields.get(part))
            if tokens is not None:
                self.extra_input[part] = tokens
        if (written := as_count(fields.get("cache_creation_input_tokens"))) is not None:
            self.input_details["cache_write_tokens"] = written

    def read_response(self, document: JsonObject) -> None:
        """Read a response object of OpenAI's responses dialect."""
        usage = as_object(document.get("usage"))
        self._set("input_tokens", usage.get("input_tokens"))
        self._set("output_tokens", usage.get("output_tokens"))
        self._set_details(usage.get("input_tokens_details"), usage.get("output_tokens_details"))
        self.set_cost(usage.get("cost"))
        self.set_cost(document.get("cost"))

    def _set_details(self, input_details: object, output_details: object) -> None:
        """Take every count in the details of input and output."""
        for details, kept in (
            (as_object(input_details), self.input_details),
            (as_object(output_details), self.output_details),
        ):
            counts = ((name, as_count(value)) for name, value in details.items() if name not in SEPARATE_FIELDS)
            kept.update((name, tokens) for name, tokens in counts if tokens is not None)
        self._set("cached_tokens", as_object(input_details).get("cached_tokens"))
        self._set("reasoning_tokens", as_object(output_details).get("reasoning_tokens"))

    def _set(self, name: str, value: object) -> None:
        tokens = as_count(value)
        if tokens is not None:
            setattr(self, name, tokens)
