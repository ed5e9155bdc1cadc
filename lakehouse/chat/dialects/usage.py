"""Tokens and money as providers count them.

Nothing is added up and nothing is invented: of counts that come more than once the last one holds, and what no provider
said stays None. Money is read as Decimal, for it also comes as a decimal string.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from lakehouse.chat.dialects.lenient_json import JsonObject, count, mapping
from lakehouse.chat.model.usage import Usage

OWN_FIELDS = ("cached_tokens", "reasoning_tokens")
"""Details of input and output that have a field of their own."""

MAX_COST = 1_000_000_000
"""US dollars of one answer. More is no price, and a few that are near the largest float add up to infinity."""


def money(value: object) -> Decimal | None:
    """US dollars from a JSON number or a decimal string (`"0.00030400"`), None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(str(value))
    except (InvalidOperation, ValueError):  # ValueError: more digits than Python turns into text
        return None
    return amount if amount.is_finite() and 0 <= amount <= MAX_COST else None


@dataclass(slots=True)
class UsageCounter:
    """What one answer was counted at, so far. Tokens; US dollars."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: Decimal | None = None
    beside_input: dict[str, int] = field(default_factory=dict)
    """Parts of the input that `input_tokens` leaves out, in the messages form."""
    input_details: JsonObject = field(default_factory=dict)
    output_details: JsonObject = field(default_factory=dict)
    """What else of the two was counted, under OpenAI's names."""

    def usage(self) -> Usage:
        """The counts as they leave the dialect."""
        whole = None if self.input_tokens is None else self.input_tokens + sum(self.beside_input.values())
        return Usage(
            input_tokens=whole,
            output_tokens=self.output_tokens,
            cached_tokens=self.cached_tokens,
            reasoning_tokens=self.reasoning_tokens,
            cost_usd=None if self.cost is None else float(self.cost),
            input_details=self.input_details or None,
            output_details=self.output_details or None,
        )

    def charge(self, cost: object) -> None:
        """A cost: the last one holds, except that zero never replaces one that was not. OpenCode repeats its own, and
        a trailing `"0"` stands for an answer that it does not bill."""
        amount = money(cost)
        if amount is not None and (amount or self.cost is None):
            self.cost = amount

    def read_completion(self, document: JsonObject, choice: JsonObject) -> bool:
        """A completion or a chunk of one, and its choice, where Kimi puts usage. Says whether there was any usage."""
        if (cost := document.get("cost")) is not None:
            self.charge(cost)
        usages = [usage for usage in (document.get("usage"), choice.get("usage")) if usage and isinstance(usage, dict)]
        for usage in usages:
            self._take("input_tokens", usage.get("prompt_tokens"))
            self._take("output_tokens", usage.get("completion_tokens"))
            self._take("cached_tokens", usage.get("prompt_cache_hit_tokens"))  # DeepSeek's
            self._take("cached_tokens", usage.get("cached_tokens"))
            self._detail(usage.get("prompt_tokens_details"), usage.get("completion_tokens_details"))
            self.charge(usage.get("cost"))
        return bool(usages)

    def read_ollama(self, document: JsonObject) -> None:
        """The last line of an answer; a count that is zero is left out of it."""
        self._take("input_tokens", document.get("prompt_eval_count"))
        self._take("output_tokens", document.get("eval_count"))

    def read_message(self, usage: object) -> None:
        """A usage object of the messages form, where input comes in three parts: `input_tokens` leaves out what was
        read from the cache and what was written into it."""
        fields = mapping(usage)
        self._take("input_tokens", fields.get("input_tokens"))
        self._take("output_tokens", fields.get("output_tokens"))
        self._take("cached_tokens", fields.get("cache_read_input_tokens"))
        for part in ("cache_read_input_tokens", "cache_creation_input_tokens"):
            tokens = count(fields.get(part))
            if tokens is not None:
                self.beside_input[part] = tokens
        if (written := count(fields.get("cache_creation_input_tokens"))) is not None:
            self.input_details["cache_write_tokens"] = written

    def read_response(self, document: JsonObject) -> None:
        """A response object of OpenAI's responses form."""
        usage = mapping(document.get("usage"))
        self._take("input_tokens", usage.get("input_tokens"))
        self._take("output_tokens", usage.get("output_tokens"))
        self._detail(usage.get("input_tokens_details"), usage.get("output_tokens_details"))
        self.charge(usage.get("cost"))
        self.charge(document.get("cost"))

    def _detail(self, read: object, written: object) -> None:
        """The details of input and output: whatever is a count in them."""
        for details, kept in ((mapping(read), self.input_details), (mapping(written), self.output_details)):
            counted = ((name, count(value)) for name, value in details.items() if name not in OWN_FIELDS)
            kept.update((name, tokens) for name, tokens in counted if tokens is not None)
        self._take("cached_tokens", mapping(read).get("cached_tokens"))
        self._take("reasoning_tokens", mapping(written).get("reasoning_tokens"))

    def _take(self, name: str, value: object) -> None:
        tokens = count(value)
        if tokens is not None:
            setattr(self, name, tokens)
